import { proxy, type Remote, wrap } from "comlink";
import { readAdapter, zipAdapter } from "./adapter-zip.js";
import type { DeviceChoice } from "./device.js";
import { MODEL_BYTES } from "./files.js";
import { duration, megabytes, millions, whole } from "./format.js";
import { hideError, numberIn, page, settingsFromAddress, showError, showText } from "./page.js";
import { RunView } from "./run-view.js";
import type { Session, Settings } from "./session.js";

type State = "loading" | "ready" | "training" | "writing" | "broken";

const view = new RunView();
let worker: Worker | undefined;
let session: Remote<Session>;
/** Whether the session's model has an adapter on it, and where that came from. */
let adapted = false;
let origin = "";

function enter(state: State, status?: string): void {
  const focus = document.activeElement;
  document.body.dataset["state"] = state;
  const ready = state === "ready";
  page.train.disabled = page.write.disabled = page.open.disabled = !ready;
  page.open.parentElement!.ariaDisabled = String(!ready);
  page.deviceChoice.disabled = !(ready || state === "broken");
  page.download.disabled = !(ready && adapted);
  page.train.hidden = state === "training";
  page.stop.hidden = state !== "training";
  page.stop.disabled = false;
  page.stop.textContent = "Stop";
  if (status !== undefined) page.status.textContent = status;
  // one button takes the other's place, also for the keyboard
  if (focus === page.train && state === "training") page.stop.focus();
  if (focus === page.stop && state !== "training") page.train.focus();
}

/** Does some work in a state of its own, then is ready again; an error is shown to the user. */
async function during(state: State, status: string, work: () => Promise<string>): Promise<void> {
  hideError();
  enter(state, status);
  try {
    const outcome = await work();
    enter("ready", outcome);
  } catch (error) {
    showError(error);
    enter("ready", "");
  }
}

/** Starts a worker on a device. An adapter that is there moves along. */
async function start(choice: DeviceChoice): Promise<void> {
  hideError();
  enter("loading", `Loading the base model, ${megabytes(MODEL_BYTES)}…`);
  page.device.textContent = "opening device…";
  try {
    // a device that was lost gives nothing back
    const kept = adapted ? await session.saveAdapter().catch(() => null) : null;
    worker?.terminate();
    worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.onerror = (event) => fail(new Error(`The worker could not be started. ${event.message ?? ""}`));
    session = wrap<Session>(worker);
    let bytes = 0;
    const onBytes = proxy((more: number) => {
      bytes += more;
      page.progress.value = bytes / MODEL_BYTES;
    });
    const { device, note, parameters } = await session.load(choice, onBytes);
    page.progress.value = 0;
    page.device.textContent = device;
    page.device.title = note;
    page.parameters.textContent = millions(parameters);
    if (kept) await session.openAdapter(kept);
    await showAdapter();
  } catch (error) {
    fail(error);
    return;
  }
  await write("Ready.");
}

function fail(error: unknown): void {
  page.device.textContent = "no device";
  showError(error);
  enter("broken", "Choose another device to try again.");
}

function train(): Promise<void> {
  const settings: Settings = {
    steps: numberIn(page.settings, "steps"),
    lr: numberIn(page.settings, "lr"),
    rank: numberIn(page.settings, "rank"),
    batch: numberIn(page.settings, "batch"),
    length: numberIn(page.settings, "length"),
  };
  const own = new FormData(page.settings).get("text") === "own";
  view.begin(settings.steps);
  return during("training", "Reading the text…", async () => {
    try {
      const onEvent = proxy((event: Parameters<typeof view.add>[0]) => {
        if (event.type === "start") page.status.textContent = "Preparing the first step…";
        if (event.type === "step" && event.step === 1) page.status.textContent = "Training…";
        view.add(event);
      });
      const { reason, step, stepMs } = await session.train(
        settings,
        own ? page.ownText.value : null,
        onEvent,
      );
      origin = "trained here";
      await showAdapter();
      if (adapted) await writeBoth();
      const steps =
        reason === "aborted" ? `Stopped after ${step} of ${settings.steps} steps` : `Trained ${step} steps`;
      return `${steps}, in ${duration(stepMs / 1000)}.`;
    } catch (error) {
      await showAdapter();
      throw error;
    }
  });
}

/** Continues the prompt without the adapter and, if there is one, with it. */
async function writeBoth(): Promise<void> {
  const prompt = page.prompt.value;
  const options = {
    tokens: numberIn(page.promptForm, "tokens"),
    temperature: numberIn(page.promptForm, "temperature"),
  };
  for (const after of adapted ? [false, true] : [false]) {
    const place = after ? page.after : page.before;
    showText(place, prompt, "");
    const show = (text: string): void => showText(place, prompt, text);
    await session.write(prompt, options, after, proxy(show));
  }
}

const write = (outcome: string): Promise<void> =>
  during("writing", "Writing…", async () => {
    await writeBoth();
    return outcome;
  });

/** Says what adapter is on the model. */
async function showAdapter(): Promise<void> {
  const facts = await session.adapterFacts();
  adapted = facts !== null;
  page.adapter.textContent = facts
    ? `${whole(facts.parameters)} parameters on ${facts.layers} layers, ${megabytes(4 * facts.parameters)}, ${origin}.`
    : "None yet. What training makes is a small file that PEFT reads, too.";
  if (!adapted) {
    page.after.textContent = "Train, or open an adapter, to see what it changes.";
    page.after.classList.add("empty");
  }
}

async function download(): Promise<void> {
  hideError();
  try {
    const url = URL.createObjectURL(zipAdapter(await session.saveAdapter()));
    const link = document.createElement("a");
    link.href = url;
    link.download = "adapter.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading it
  } catch (error) {
    showError(error);
  }
}

const open = (files: readonly File[]): Promise<void> =>
  during("writing", "Opening the adapter…", async () => {
    await session.openAdapter(await readAdapter(files));
    origin = `from ${files.map(({ name }) => name).join(" and ")}`;
    await showAdapter();
    await writeBoth();
    return "The adapter is on the model.";
  });

page.settings.addEventListener("submit", (event) => {
  event.preventDefault();
  void train();
});
page.settings.addEventListener("change", () => {
  page.own.hidden = new FormData(page.settings).get("text") !== "own";
});
page.ownFile.addEventListener("change", async () => {
  const file = page.ownFile.files?.[0];
  if (file) page.ownText.value = await file.text();
});
page.stop.addEventListener("click", () => {
  page.stop.disabled = true;
  page.stop.textContent = "Stopping…";
  void session.stop();
});
page.promptForm.addEventListener("submit", (event) => {
  event.preventDefault();
  void write("");
});
page.download.addEventListener("click", () => void download());
page.open.addEventListener("change", () => {
  const files = [...(page.open.files ?? [])];
  page.open.value = ""; // so that the same file can be chosen again
  if (files.length > 0) void open(files);
});
page.deviceChoice.addEventListener("change", () => void start(page.deviceChoice.value as DeviceChoice));
page.error.querySelector("button")!.addEventListener("click", hideError);

// A file that misses its mark must not replace the page.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
page.drop.addEventListener("dragover", () => page.drop.classList.add("over"));
page.drop.addEventListener("dragleave", () => page.drop.classList.remove("over"));
page.drop.addEventListener("drop", (event) => {
  page.drop.classList.remove("over");
  const files = [...(event.dataTransfer?.files ?? [])];
  if (files.length > 0 && document.body.dataset["state"] === "ready") void open(files);
});

settingsFromAddress();
void start(page.deviceChoice.value as DeviceChoice);
