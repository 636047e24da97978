// Tables of the model page: a click on a head sorts, the field above filters.
document.addEventListener("DOMContentLoaded", () => {
  const filter = document.getElementById("filter");
  if (!filter) return;
  const value = (row, column) => row.cells[column]?.textContent.trim() ?? "";
  for (const table of document.querySelectorAll("article table")) {
    table.classList.add("sortable");
    const body = table.tBodies[0];
    table.querySelectorAll("th").forEach((head, column) => {
      head.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const compare = (a, b) =>
          value(a, column).localeCompare(value(b, column), "en", { numeric: true }) * (up ? 1 : -1);
        body.append(...[...body.rows].sort(compare));
      });
    });
  }
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of document.querySelectorAll("article tbody tr")) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
});
