/** The parts of index.html that the program speaks with, each checked to be there and of its kind. */

function part<T extends Element>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html: expected a ${kind.name} with the id "${id}"`);
  return found;
}

export const page = {
  device: part("device", HTMLElement),
  deviceChoice: part("device-choice", HTMLSelectElement),
  parameters: part("parameters", HTMLElement),
  error: part("error", HTMLElement),
  settings: part("settings", HTMLFormElement),
  own: part("own", HTMLElement),
  ownText: part("own-text", HTMLTextAreaElement),
  ownFile: part("own-file", HTMLInputElement),
  train: part("train", HTMLButtonElement),
  stop: part("stop", HTMLButtonElement),
  progress: part("progress", HTMLProgressElement),
  status: part("status", HTMLOutputElement),
  chart: part("chart", HTMLElement),
  step: part("step", HTMLElement),
  loss: part("loss", HTMLElement),
  perplexity: part("perplexity", HTMLElement),
  speed: part("speed", HTMLElement),
  stepTime: part("step-time", HTMLElement),
  left: part("left", HTMLElement),
  promptForm: part("prompt-form", HTMLFormElement),
  prompt: part("prompt", HTMLInputElement),
  write: part("write", HTMLButtonElement),
  before: part("before", HTMLElement),
  after: part("after", HTMLElement),
  adapter: part("adapter", HTMLElement),
  download: part("download", HTMLButtonElement),
  open: part("open", HTMLInputElement),
  drop: part("drop", HTMLElement),
};

/** A number that the user typed; forms are not sent while one is out of its range. */
export const numberIn = (form: HTMLFormElement, name: string): number =>
  (form.elements.namedItem(name) as HTMLInputElement).valueAsNumber;

/** Takes over settings from the address, as in `?steps=50&rank=4&device=wasm`. */
export function settingsFromAddress(): void {
  const query = new URLSearchParams(location.search);
  for (const input of document.querySelectorAll<HTMLInputElement>('input[type="number"]')) {
    input.value = query.get(input.name) ?? input.value;
  }
  page.prompt.value = query.get("prompt") ?? page.prompt.value;
  page.deviceChoice.value = query.get("device") ?? "auto";
  if (page.deviceChoice.selectedIndex < 0) page.deviceChoice.value = "auto";
}

export function showError(error: unknown): void {
  page.error.querySelector("p")!.textContent = error instanceof Error ? error.message : String(error);
  page.error.hidden = false;
  page.error.scrollIntoView({ block: "nearest" });
}

export const hideError = (): void => {
  page.error.hidden = true;
};

/** A prompt and what was written behind it. */
export function showText(place: HTMLElement, prompt: string, text: string): void {
  const given = document.createElement("b");
  given.textContent = prompt;
  place.replaceChildren(given, text);
  place.classList.remove("empty");
}
