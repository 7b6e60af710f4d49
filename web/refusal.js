// What the page tells its user in one sentence.
export class Refusal extends Error {}
