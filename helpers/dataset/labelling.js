// Appended to the script of jupyter-bbox-widget, whose default export is `original` here.
// On its own, Submit says neither which boxes nor which frame. Pressed while Python still saves the
// frame before, it would lose boxes just drawn, and save frames that nobody has seen yet.
export default {
  render({ model, el, ...rest }) {
    const send = (content) => model.send(
      { ...content, frame: model.get("frame"), bboxes: model.get("bboxes") });
    const back = () => { send({ type: "back" }); el.querySelector("[tabindex]").focus(); };
    // A drag that ends outside the picture has ended; text next to it is not dragged along.
    el.style.userSelect = "none";
    el.addEventListener("dragstart", (event) => event.preventDefault());
    const released = (event) => {
      const picture = el.querySelector("svg");
      if (!el.isConnected) window.removeEventListener("mouseup", released);
      else if (picture && !picture.contains(event.target))
        picture.dispatchEvent(new MouseEvent("mouseup", { bubbles: true }));
    };
    window.addEventListener("mouseup", released);
    el.addEventListener("keydown", (event) => {
      // Ctrl+C is the browser's; a key held down does not save frames that nobody has seen.
      const held = event.repeat && ["Enter", "Space"].includes(event.code);
      if (held || event.ctrlKey || event.metaKey || event.altKey) event.stopPropagation();
      if (held) event.preventDefault();
      if (event.code !== "Backspace") return;
      event.preventDefault();
      event.stopPropagation();
      back();
    }, true);
    const close = original.render({ ...rest, el, model: { ...model, send } });
    const skip = el.querySelector(".buttons button");
    const button = document.createElement("button");
    button.className = skip.className;
    button.textContent = "Back";
    button.title = "Keyboard shortcut: Backspace";
    button.addEventListener("click", back);
    skip.before(button);
    return close;
  },
};
