// What scrolls sideways must be within reach of the keyboard. The theme looks at this once, when a page has loaded; this
// looks again whenever a box gets another size, as it does when a solution is unfolded, and at tables too.
const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
});
document.addEventListener("DOMContentLoaded", () => {
  const boxes = ".bd-article pre, .bd-article .cell_output > .output, .bd-article .pst-scrollable-table-container";
  document.querySelectorAll(boxes).forEach((box) => watch.observe(box));
});
