// Appended to the script of jupyter-bbox-widget, whose default export is `original` here.
// On its own, Submit says neither which boxes nor which frame. Pressed while Python still saves the
// frame before, it would lose boxes just drawn, and save frames that nobody has seen yet.
const ARROWS = { ArrowUp: "KeyW", ArrowLeft: "KeyA", ArrowDown: "KeyS", ArrowRight: "KeyD" };

export default {
  render({ model, el, ...rest }) {
    const send = (content) => model.send(
      { ...content, frame: model.get("frame"), bboxes: model.get("bboxes") });
    const back = () => { send({ type: "back" }); el.querySelector("[tabindex]").focus(); };
    const draw = (boxes, selected) => {
      model.set("bboxes", boxes);
      model.set("selected_index", selected);
      model.save_changes();
    };
    el.classList.add("course-labelling");
    el.dataset.lmSuppressShortcuts = "true"; // keys are the picture's, not JupyterLab's
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
    el.addEventListener("mouseup", () => { // a click without a drag is no box
      const boxes = model.get("bboxes");
      const drawn = boxes.filter((box) => box.width && box.height);
      if (drawn.length < boxes.length) draw(drawn, -1);
    });
    const newBox = () => {
      const { naturalWidth: width, naturalHeight: height } = el.querySelector("img");
      if (!width || model.get("view_only")) return;
      const [x, y] = [width, height].map((side) => Math.round(side * 3 / 8));
      const box = { x, y, width: width - 2 * x, height: height - 2 * y, label: model.get("label") };
      draw([...model.get("bboxes"), box], model.get("bboxes").length);
    };
    const keyed = (event) => {
      const own = () => { event.preventDefault(); event.stopPropagation(); };
      if (event.type === "keydown") {
        // Ctrl+C is the browser's; a key held down does not save frames that nobody has seen.
        const held = event.repeat && ["Enter", "Space", "KeyN"].includes(event.code);
        if (held) own();
        if (held || event.ctrlKey || event.metaKey || event.altKey) return event.stopPropagation();
      }
      if (event.code in ARROWS) {
        own();
        const { type, shiftKey } = event;
        event.target.dispatchEvent(
          new KeyboardEvent(type, { code: ARROWS[event.code], shiftKey, bubbles: true }));
      } else if (event.type === "keydown" && ["Backspace", "KeyN"].includes(event.code)) {
        own();
        if (event.code === "KeyN") newBox();
        else back();
      }
    };
    for (const type of ["keydown", "keyup"]) el.addEventListener(type, keyed, true);
    const close = original.render({ ...rest, el, model: { ...model, send } });
    const named = () => { el.querySelector("img").alt = model.get("frame"); };
    model.on("change:frame", named);
    named();
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
