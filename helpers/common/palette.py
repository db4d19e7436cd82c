"""The colours of all figures and widgets (Okabe and Ito: told apart by the colour-blind)."""

TRUTH, PREDICTION, THIRD, FOURTH = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW = "#56B4E9", "#D55E00", "#F0E442"
GREY = "#999999"
LIGHT = {TRUTH: "#7CC4F0"}  # the same hue, for text on a dark rim
SERIES = (TRUTH, PREDICTION, THIRD, FOURTH)
