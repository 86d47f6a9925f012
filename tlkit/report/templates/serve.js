"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const drop = find("drop"), input = find("file"), asked = find("asked"), failed = find("failed");
  const mostBytes = Number(find("main").dataset.mostBytes), kept = 20, shown = 5;
  const percent = (share) => (share > 0 && share < 0.001 ? "<0.1 %" : `${(Math.floor(share * 1000) / 10).toFixed(1)} %`);
  find("address").textContent = location.origin;

  const ask = async (file) => {
    if (file.size > mostBytes) throw new Error(`too large; the limit is ${Math.floor(mostBytes / 1048576)} MiB`);
    const response = await fetch("predict?explain=true", { method: "POST", body: file }).catch(() => {
      throw new Error("the server does not answer; is it still running?");
    });
    const answer = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
    if (answer.error) throw new Error(answer.error);
    return answer;
  };

  const show = (file, answer) => {
    const card = find("answer").content.cloneNode(true);
    const best = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
    // An empty answer: of several labels, none applies.
    const verdict = answer.predicted === null ? "don’t know" : `${answer.predicted || "none of them"} ${percent(answer.confidence)}`;
    card.querySelector("h2").textContent = verdict;
    card.querySelector(".path").textContent = file.name;
    card.querySelector(".seen").src = `data:image/jpeg;base64,${answer.seen}`;
    const looked = card.querySelector(".looked");
    looked.src = `data:image/jpeg;base64,${answer.looked}`;
    looked.alt = `Where it looked for ${best[0][0]}`;
    for (const [name, share] of best.slice(0, shown)) {
      const row = document.createElement("li"), label = document.createElement("bdi"), value = document.createElement("data");
      row.style.setProperty("--share", share);
      label.textContent = name;
      label.className = "name";
      value.value = share;
      value.textContent = percent(share);
      row.append(label, value);
      card.querySelector(".probabilities").append(row);
    }
    find("answers").prepend(card);
    while (find("answers").children.length > kept) find("answers").lastElementChild.remove();
    asked.textContent = `${file.name}: ${verdict}`;
  };

  let queue = Promise.resolve();
  const take = (files) => {
    for (const file of files)
      queue = queue.then(async () => {
        asked.textContent = `Asking about ${file.name} …`;
        failed.textContent = "";
        try {
          show(file, await ask(file));
        } catch (error) {
          asked.textContent = "";
          failed.textContent = `${file.name}: ${error.message}`;
        }
      });
  };

  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
})();
