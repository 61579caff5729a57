/* A page opened from a disk may not start a worker, so there the search's script runs in a hidden frame. */
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      this.frame = frame;
      frame.contentWindow.postMessage = (data) => this.onmessage({ data });
      this.ready = new Promise((resolve, reject) => {
        const script = frame.contentDocument.createElement("script");
        script.src = url;
        script.onload = resolve;
        script.onerror = reject;
        frame.contentDocument.body.append(script);
      });
      this.ready.catch((event) => this.onerror(event));
    }

    async postMessage(data) {
      await this.ready;
      const target = this.frame.contentWindow;
      target.dispatchEvent(new target.MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}

/* Light or dark is the system's choice: the theme's hidden buttons for it must not take the focus. */
for (const button of document.querySelectorAll("[name=__palette]")) button.tabIndex = -1;

/* A table that is wider than the page can be scrolled by keys. */
addEventListener("load", () => {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) table.tabIndex = 0;
});
