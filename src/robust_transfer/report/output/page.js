// Tables of runs are sorted by a click on a header and searched; without scripts the page is whole but for that.
for (const table of document.querySelectorAll("table.runs")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) => text(a).localeCompare(text(b), "en", { numeric: true }));
      body.append(...(up ? rows : rows.reverse()));
    });
  });
  const label = document.createElement("label"), search = document.createElement("input");
  const count = document.createElement("span");
  label.textContent = "Search";
  search.type = "search";
  count.setAttribute("role", "status");
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of body.rows) {
      row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    }
    count.textContent = ` ${[...body.rows].filter((row) => !row.hidden).length} of ${body.rows.length}`;
  });
  label.append(search);
  table.parentElement.before(label, count);
}
