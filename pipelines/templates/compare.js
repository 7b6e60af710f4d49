// The before/after slider: a range input moves the divider; pointers and keys move it too, or the picture once zoomed.
"use strict";

const MOST_ZOOM = 8;

function compare(figure) {
  const find = (selector) => figure.querySelector(selector);
  const stage = find(".stage"), range = find(".divide"), left = find(".layer.left");
  const state = { zoom: 1, x: 0, y: 0 };
  const pointers = new Map();
  let label = find(".on-left").textContent;

  function divide(percent) {
    range.value = Math.min(100, Math.max(0, percent));
    stage.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % ${label}, ${100 - range.value} % ${find(".on-right").textContent}`);
  }

  function place() {
    const { width, height } = stage.getBoundingClientRect();
    state.x = Math.min(0, Math.max(width * (1 - state.zoom), state.x));
    state.y = Math.min(0, Math.max(height * (1 - state.zoom), state.y));
    stage.style.setProperty("--shift", `translate(${state.x}px, ${state.y}px) scale(${state.zoom})`);
    stage.classList.toggle("zoomed", state.zoom > 1);
    find("output").textContent = `${Math.round(state.zoom * 10) / 10}×`;
    find("[data-zoom=out]").disabled = state.zoom <= 1;
    find("[data-zoom=in]").disabled = state.zoom >= MOST_ZOOM;
  }

  // Zoom so that the point under (x, y), px from the stage's corner, stays where it is.
  function zoom(wanted, x, y) {
    const { width, height } = stage.getBoundingClientRect();
    const next = Math.min(MOST_ZOOM, Math.max(1, wanted)), factor = next / state.zoom;
    x ??= width / 2;
    y ??= height / 2;
    Object.assign(state, { zoom: next, x: x - (x - state.x) * factor, y: y - (y - state.y) * factor });
    place();
  }

  function choose(chosen) {
    label = chosen;
    find(".on-left").textContent = chosen;
    for (const image of left.children) image.hidden = image.dataset.label !== chosen;
    for (const button of figure.querySelectorAll("[data-left]")) {
      button.setAttribute("aria-pressed", button.dataset.left === chosen);
    }
    divide(range.value);
  }

  // Every picture once in the file: those below the slider, and the right one on the left, are the same addresses.
  function chooseRight(chosen) {
    const image = find(".layer.right img"), other = [...left.children].find((each) => each.dataset.label === chosen);
    Object.assign(image, { src: other.src, alt: other.alt });
    find(".on-right").textContent = chosen;
    divide(range.value);
  }

  function spreadOut() {
    const picker = find(".on-the-right");
    if (!picker) return;
    [...left.children].find((each) => each.dataset.label === picker.value).src = find(".layer.right img").src;
    for (const button of figure.querySelectorAll(".sheet button")) {
      const shown = [...left.children].find((each) => each.dataset.label === button.dataset.left);
      button.querySelector("img").src = shown.src;
    }
    picker.addEventListener("change", () => chooseRight(picker.value));
  }

  function at(event) {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top, width: box.width };
  }

  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };

  range.addEventListener("input", () => divide(range.value));
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const point = at(event);
    const grip = Math.abs(point.x - (point.width * range.value) / 100) < 24;
    pointers.set(event.pointerId, { ...point, divides: state.zoom === 1 || grip });
    stage.setPointerCapture(event.pointerId);
    if (state.zoom === 1 && event.pointerType === "mouse") divide((100 * point.x) / point.width);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const point = at(event);
    if (pointers.size === 2) {
      const old = spread();
      pointers.set(event.pointerId, { ...before, ...point });
      const now = spread();
      state.x += now.x - old.x;
      state.y += now.y - old.y;
      zoom((state.zoom * now.distance) / Math.max(old.distance, 1), now.x, now.y);
    } else if (before.divides) {
      divide((100 * point.x) / point.width);
    } else {
      state.x += point.x - before.x;
      state.y += point.y - before.y;
      place();
    }
    pointers.set(event.pointerId, { ...before, ...point });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  stage.addEventListener("dblclick", (event) => {
    const point = at(event);
    zoom(state.zoom > 1 ? 1 : 3, point.x, point.y);
  });
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // a plain wheel scrolls the page
    event.preventDefault();
    const point = at(event);
    zoom(state.zoom * Math.exp(-event.deltaY / 200), point.x, point.y);
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const arrow = arrows[event.key];
    if (event.key === "+" || event.key === "=") zoom(state.zoom * 1.5);
    else if (event.key === "-") zoom(state.zoom / 1.5);
    else if (event.key === "0") zoom(1);
    else if (arrow && state.zoom > 1) {
      state.x -= 40 * arrow[0];
      state.y -= 40 * arrow[1];
      place();
    } else if (arrow && arrow[0]) divide(Number(range.value) + 5 * arrow[0]);
    else return;
    event.preventDefault();
  });
  figure.addEventListener("click", (event) => {
    const { zoom: direction, left: chosen } = event.target.closest("button")?.dataset ?? {};
    if (direction) zoom(direction === "in" ? state.zoom * 1.5 : state.zoom / 1.5);
    if (chosen) choose(chosen);
  });
  // Other pictures have come: back to the beginning.
  figure.addEventListener("reset", () => {
    choose(left.children[0].dataset.label);
    divide(50);
    zoom(1);
  });
  new ResizeObserver(place).observe(stage);
  spreadOut();
  divide(50);
}

document.querySelectorAll(".compare").forEach(compare);
