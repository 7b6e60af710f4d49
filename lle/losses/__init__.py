"""One loss, one file; `objective` weighs and sums them."""
