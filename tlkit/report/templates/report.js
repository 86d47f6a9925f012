"use strict";
(() => {
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const [PATH, SPLIT, LABEL, PREDICTED, CONFIDENCE, BEST, PICTURE] = [0, 1, 2, 3, 4, 5, 6];
  // Tiles are made a page at a time, so that 10,000 pictures cost nothing until they are asked for,
  // and what follows the gallery stays in reach.
  const STEP = 60;
  const byId = (id) => document.getElementById(id);

  // Text only ever enters the page as text: no name can become markup.
  const element = (tag, options = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...children);
    return made;
  };
  // As the templates' macro: several labels (a;b) break between them, a long name is cut short.
  const name = (place) => {
    const title = data.classes[place];
    const made = element("bdi", { className: title.length > 40 ? "name long" : "name", title });
    for (const part of title.split(/(?<=;)/)) made.append(part, element("wbr"));
    return made;
  };
  const percent = (share) => {
    const rounded = Math.round(share * 100);
    if (rounded === 100 && share < 1) return ">99\u00a0%";
    return rounded === 0 && share > 0 ? "<1\u00a0%" : `${rounded}\u00a0%`;
  };
  const plural = (count) => `${count.toLocaleString("en")} picture${count === 1 ? "" : "s"}`;
  const isRight = (image) => image[LABEL] === image[PREDICTED];
  const describe = (image) =>
    `${data.classes[image[LABEL]]} photo predicted as ${data.classes[image[PREDICTED]]}, ${percent(image[CONFIDENCE])}`;
  const address = (image) =>
    data.root + image[PATH].split("/").map(encodeURIComponent).join("/");

  // Pictures that a grid of the page shows already are not embedded twice.
  const shown = new Map();
  for (const img of document.querySelectorAll("img[data-path]")) shown.set(img.dataset.path, img.src);
  const source = (image) =>
    image[PICTURE] === 1 ? shown.get(image[PATH]) : image[PICTURE] && `data:image/jpeg;base64,${image[PICTURE]}`;

  const picture = (image) => {
    const src = source(image);
    if (src) {
      const img = element("img", { src, alt: describe(image), decoding: "async" });
      img.addEventListener("load", () => img.classList.toggle("pixels", img.naturalWidth < 64));
      return img;
    }
    const note = image[PICTURE] === null ? "Not embedded:" : "File missing:";
    const box = element("span", { className: "missing" }, note, element("br"));
    box.append(element("span", { className: "path", textContent: image[PATH] }));
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `${describe(image)} (${note.slice(0, -1).toLowerCase()})`);
    return box;
  };

  // ---- Gallery -------------------------------------------------------------------------------
  const form = byId("filters");
  const grid = byId("gallery-grid");
  const more = byId("gallery-more");
  const status = byId("gallery-status");
  const orders = {
    unsure: (a, b) => a[CONFIDENCE] - b[CONFIDENCE],
    sure: (a, b) => b[CONFIDENCE] - a[CONFIDENCE],
    path: (a, b) => (a[PATH] < b[PATH] ? -1 : 1),
  };
  let found = [];

  const filter = () => {
    const value = (field) => form.elements[field]?.value ?? "";
    const wants = (field, got) => value(field) === "" || value(field) === String(got);
    // Of several labels, those that were chosen must be among the picture's.
    const labels = (place) => data.classes[place].split(";");
    const shows = (field, place) =>
      wants(field, place) ||
      (data.multi_label && labels(value(field)).every((one) => labels(place).includes(one)));
    const low = Number(value("low") || 0) / 100;
    const high = Number(value("high") || 100) / 100;
    found = data.images.filter(
      (image) =>
        wants("split", image[SPLIT]) &&
        shows("label", image[LABEL]) &&
        shows("predicted", image[PREDICTED]) &&
        wants("outcome", isRight(image) ? "right" : "wrong") &&
        image[CONFIDENCE] >= low &&
        image[CONFIDENCE] <= high,
    );
    const order = orders[value("order")];
    if (order) found.sort(order);
    grid.replaceChildren();
    showMore();
    const right = found.filter(isRight).length;
    status.textContent = found.length
      ? `${plural(found.length)}: ${right.toLocaleString("en")} right, ${(found.length - right).toLocaleString("en")} wrong`
      : "No picture fits these filters.";
  };

  const tile = (image, index) => {
    const caption = element("span", { className: "said" });
    caption.append(
      element("span", { className: "mark", textContent: isRight(image) ? "✓" : "✗" }), " ",
      name(image[PREDICTED]), " ",
      element("span", { className: "interval", textContent: percent(image[CONFIDENCE]) }),
    );
    const figcaption = element("span", {}, caption);
    if (!isRight(image))
      figcaption.append(element("span", { className: "truth" }, "labelled ", name(image[LABEL])));
    const button = element("button", { type: "button", tabIndex: index ? -1 : 0 });
    button.dataset.index = index;
    button.setAttribute("aria-label", describe(image));
    button.append(picture(image), element("span", { className: "caption" }, figcaption));
    const box = element("li", {}, button);
    button.className = `picture ${isRight(image) ? "right" : "wrong"}`;
    return box;
  };

  const showMore = () => {
    const from = grid.childElementCount;
    grid.append(...found.slice(from, from + STEP).map((image, i) => tile(image, from + i)));
    more.hidden = grid.childElementCount >= found.length;
    more.textContent = `Show more (${(found.length - grid.childElementCount).toLocaleString("en")} left)`;
  };

  const focusTile = (index) => {
    const target = Math.max(0, Math.min(index, found.length - 1));
    while (grid.childElementCount <= target) showMore();
    for (const other of grid.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    const button = grid.children[target]?.firstElementChild;
    if (button) {
      button.tabIndex = 0;
      button.focus();
    }
  };

  const columns = (list) => getComputedStyle(list).gridTemplateColumns.split(" ").length;
  grid.addEventListener("keydown", (event) => {
    const current = event.target.closest("button");
    if (!current) return;
    const index = Number(current.dataset.index);
    const moves = {
      ArrowRight: index + 1, ArrowLeft: index - 1,
      ArrowDown: index + columns(grid), ArrowUp: index - columns(grid),
      Home: 0, End: found.length - 1,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    focusTile(moves[event.key]);
  });
  grid.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) openViewer(Number(button.dataset.index), found);
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  more.addEventListener("click", showMore);

  // Whatever carries data-label or data-predicted (matrix cells, pairs, class names) filters the gallery.
  const showInGallery = (label, predicted, below) => {
    form.reset();
    const set = (field, value) => {
      if (form.elements[field] && value !== undefined) form.elements[field].value = value;
    };
    set("split", data.evaluated);
    set("label", label);
    set("predicted", predicted);
    set("high", below);
    // The reset event filters once more after this, with the values set here.
    filter();
    byId("gallery").scrollIntoView();
    byId("gallery-title").focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-label], button[data-predicted]");
    if (button) showInGallery(button.dataset.label, button.dataset.predicted);
  });

  // ---- One picture, large --------------------------------------------------------------------
  const viewer = byId("viewer");
  let [current, among] = [0, found];
  const openViewer = (index, images = among) => {
    among = images;
    current = (index + among.length) % among.length;
    const image = among[current];
    viewer.querySelector(".viewer-picture").replaceChildren(picture(image));
    byId("viewer-title").replaceChildren(
      isRight(image) ? "✓ " : "✗ ", name(image[PREDICTED]),
      ...(isRight(image) ? [] : [", labelled ", name(image[LABEL])]),
    );
    viewer.querySelector("ol").replaceChildren(
      ...image[BEST].map(([place, share]) => {
        const row = element("li", {}, name(place), element("span", { textContent: percent(share) }));
        row.style.setProperty("--share", share);
        return row;
      }),
    );
    const link = viewer.querySelector("a");
    link.textContent = `${data.split_names[image[SPLIT]]}: ${image[PATH]}`;
    link.href = address(image);
    if (!viewer.open) viewer.showModal();
  };
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.target === viewer || button?.hasAttribute("data-close")) viewer.close();
    else if (button?.dataset.move) openViewer(current + Number(button.dataset.move));
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") openViewer(current + 1);
    if (event.key === "ArrowLeft") openViewer(current - 1);
  });
  viewer.addEventListener("close", () => among === found && focusTile(current));

  // The pictures worth a look open as the gallery's do.
  const byPath = new Map(data.images.map((image) => [image[PATH], image]));
  for (const list of document.querySelectorAll("#pictures .grid")) {
    const pictures = [...list.querySelectorAll("img[data-path]")];
    const images = pictures.map((img) => byPath.get(img.dataset.path));
    const buttons = pictures.map((img, index) => {
      const button = element("button", { type: "button", className: "open", ariaLabel: img.alt });
      button.tabIndex = index ? -1 : 0;
      button.addEventListener("click", () => openViewer(index, images));
      img.replaceWith(button);
      button.append(img);
      return button;
    });
    list.addEventListener("keydown", (event) => {
      const down = columns(list);
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: down, ArrowUp: -down };
      const next = buttons[buttons.indexOf(event.target) + steps[event.key]];
      if (!next) return;
      event.preventDefault();
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }

  // ---- Tables that scroll: only what does not show whole is a stop of the Tab key --------------
  const frames = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const whole = target.scrollWidth <= target.clientWidth && target.scrollHeight <= target.clientHeight;
      target.tabIndex = whole ? -1 : 0;
    }
  });
  for (const frame of document.querySelectorAll(".scroll")) frames.observe(frame);

  // ---- Tables that sort ----------------------------------------------------------------------
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (!head) return;
      const column = heads.indexOf(head);
      const numeric = head.classList.contains("number");
      // Names start at A, numbers at the largest.
      const now = head.getAttribute("aria-sort");
      const ascending = now ? now !== "ascending" : !numeric;
      const key = (row) => row.cells[column].dataset.value;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (numeric && (x === "" || y === "")) return (x === "") - (y === "");
        const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
        return ascending ? order : -order;
      });
      table.tBodies[0].append(...rows);
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    });
  }

  // ---- Each class against the rest -----------------------------------------------------------
  byId("curve-class")?.addEventListener("input", (event) => {
    const chosen = event.target.value;
    document.querySelector(".thresholds").classList.toggle("chosen", chosen !== "");
    for (const curve of document.querySelectorAll("[data-curve]"))
      curve.classList.toggle("lit", curve.dataset.curve === chosen);
  });

  // ---- Don't know ----------------------------------------------------------------------------
  const judged = data.images.filter((image) => image[SPLIT] === data.evaluated);
  const chart = byId("coverage-chart");
  const along = (axis, value) => {
    const [low, high, start, end] = JSON.parse(chart.dataset[axis]);
    return start + ((Math.max(low, value) - low) / (high - low)) * (end - start);
  };
  const threshold = () => Number(byId("reject-below").value);
  const reject = () => {
    const answered = judged.filter((image) => image[CONFIDENCE] >= threshold() / 100);
    const right = answered.filter(isRight).length;
    const lost = judged.filter(isRight).length - right;
    const wrong = answered.length - right;
    byId("reject-value").textContent = `${threshold()}\u00a0%`;
    byId("reject-readout").textContent = answered.length
      ? `It answers ${plural(answered.length)} of ${judged.length.toLocaleString("en")} (${percent(answered.length / judged.length)}), ` +
        `${percent(right / answered.length)} of them right: ${wrong.toLocaleString("en")} mistake${wrong === 1 ? "" : "s"} left, ` +
        `${lost.toLocaleString("en")} right answer${lost === 1 ? "" : "s"} withheld.`
      : "It answers no picture.";
    const mark = byId("coverage-mark");
    mark.toggleAttribute("hidden", !answered.length);
    if (!answered.length) return;
    mark.setAttribute("cx", along("x", answered.length / judged.length));
    mark.setAttribute("cy", along("y", right / answered.length));
  };
  byId("reject-below").addEventListener("input", reject);
  byId("reject").addEventListener("submit", (event) => event.preventDefault());
  byId("reject-show").addEventListener("click", () => showInGallery(undefined, undefined, threshold()));
  reject();

  // ---- The matrix as a picture ---------------------------------------------------------------
  const drawn = document.querySelector(".matrix-picture");
  if (drawn) {
    const count = data.classes.length;
    const readout = byId("matrix-readout");
    const cursor = drawn.querySelector(".cursor");
    const counts = new Map();
    for (const cell of drawn.querySelectorAll("[data-n]"))
      counts.set(cell.getAttribute("y") * count + Number(cell.getAttribute("x")), Number(cell.dataset.n));
    let [row, column] = [0, 0];
    const point = (toRow, toColumn) => {
      row = Math.max(0, Math.min(toRow, count - 1));
      column = Math.max(0, Math.min(toColumn, count - 1));
      cursor.removeAttribute("hidden");
      cursor.setAttribute("x", column);
      cursor.setAttribute("y", row);
      readout.replaceChildren(
        name(row), " said to be ", name(column), `: ${plural(counts.get(row * count + column) ?? 0)}`,
      );
    };
    const place = (event) => {
      const box = drawn.getBoundingClientRect();
      const at = (from, size) => Math.floor((from / size) * count);
      point(at(event.clientY - box.top, box.height), at(event.clientX - box.left, box.width));
    };
    drawn.addEventListener("pointermove", place);
    drawn.addEventListener("click", (event) => {
      place(event);
      showInGallery(row, column);
    });
    drawn.addEventListener("focus", () => point(row, column));
    drawn.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (event.key === "Enter") showInGallery(row, column);
      else if (event.key in moves) point(row + moves[event.key][0], column + moves[event.key][1]);
      else return;
      event.preventDefault();
    });
  }

  // ---- Marks on doubtful labels, saved as fixes.csv -----------------------------------------
  const audit = byId("audit-grid");
  if (audit) {
    const save = byId("audit-save");
    const marks = () =>
      [...audit.children].flatMap((item) => {
        const action = item.querySelector("input:checked")?.value;
        const label = action === "relabel" ? item.querySelector("select").value : "";
        return action ? [[item.dataset.path, action, label]] : [];
      });
    const show = () => {
      const count = marks().length;
      save.disabled = !count;
      byId("audit-count").textContent = count ? `${plural(count)} marked.` : "Nothing marked yet.";
    };
    audit.addEventListener("change", (event) => {
      const item = event.target.closest("li");
      const select = item.querySelector("select");
      select.hidden = item.querySelector("input:checked")?.value !== "relabel";
      if (!select.hidden && select.length === 1)
        for (const other of data.classes)
          if (other !== select.value) select.append(element("option", { textContent: other, value: other }));
      show();
    });
    save.addEventListener("click", () => {
      // As tlkit.foreign_text: no spreadsheet takes a name for a formula.
      const cell = (text) => (/^'*[=+\-@\t\r\n]/.test(text) ? `'${text}` : text);
      const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const field = (text) => quoted(cell(text));
      const lines = [["path", "action", "label"], ...marks()].map((row) => row.map(field).join(","));
      const url = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
      const link = element("a", { href: url, download: "fixes.csv" });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    });
    show(); // a browser may have kept the marks of a page that was loaded again
  }

  filter();
})();
