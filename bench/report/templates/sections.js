// Tables of open sections have their tools at once. Figures and tools of folded sections appear when
// a section is opened. Which sections are open is part of the address: `open=ANCHOR`.

(() => {
  const sections = [...document.querySelectorAll("#sections > details")];
  const ready = new Set();

  async function show(image) {
    const text = await inflated(image.dataset.svg);
    image.src = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    image.removeAttribute("data-svg");
  }

  function prepare(section) {
    if (ready.has(section)) return;
    ready.add(section);
    section.querySelectorAll("img[data-svg]").forEach(show);
    section.querySelectorAll("table").forEach((table, at) => {
      tables.enhance(table, at ? `${section.id}_${at + 1}` : section.id);
    });
  }

  function openOnes() {
    return sections.filter((section) => section.open).map((section) => section.id);
  }

  function follow() {
    const wanted = new Set(address.all("open"));
    const anchor = decodeURIComponent(location.hash.slice(1));
    for (const section of sections) {
      if (wanted.has(section.id) || section.id === anchor) section.open = true;
      if (section.id === anchor) section.scrollIntoView();
    }
  }

  document.querySelectorAll("section.shown").forEach(prepare);
  for (const section of sections) {
    section.addEventListener("toggle", () => {
      if (section.open) prepare(section);
      address.set("open", openOnes());
    });
  }
  document.getElementById("unfold").addEventListener("click", (event) => {
    const fold = sections.every((section) => section.open);
    for (const section of sections) section.open = !fold;
    event.target.textContent = fold ? "open all" : "close all";
  });
  // The links at the top keep what was chosen on the page in its address.
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const target = document.querySelector(link.getAttribute("href"));
      target.tabIndex = -1;
      target.focus({ preventScroll: true });
      target.scrollIntoView();
    });
  }
  address.onChange(follow);
  follow();
})();
