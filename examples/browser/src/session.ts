import { type Attached, attach, loadPeft, lora, peftFiles } from "@lowrank/adapters";
import {
  type CausalLM,
  fromPretrained,
  generate,
  loadTokenizer,
  perplexity,
  type Tokenizer,
} from "@lowrank/models";
import { AdamW, cosineSchedule } from "@lowrank/optim";
import { key, setDefaultBackend } from "@lowrank/tensor";
import { batchTensors, type TrainEvent, TrainingData, type TrainResult, train } from "@lowrank/train";
import { type DeviceChoice, openDevice } from "./device.js";
import { downloadFolder, MODEL } from "./files.js";
import { mobyDick, ownText } from "./texts.js";

export interface Settings {
  /** Of the LoRA matrices. */
  rank: number;
  /** Highest learning rate. */
  lr: number;
  steps: number;
  /** Rows in a batch. */
  batch: number;
  /** Tokens in a row. */
  length: number;
}

export interface WriteOptions {
  /** Most new tokens. */
  tokens: number;
  /** 0 takes the likeliest token each time. */
  temperature: number;
}

export interface Ready {
  device: string;
  /** Why the device is not a faster one. */
  note: string;
  /** Numbers in the base model. */
  parameters: number;
}

export interface AdapterFacts {
  layers: number;
  parameters: number;
}

const LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
const WARMUP = 10;
/** Evaluations in a run, at most, and the steps between two, at least. */
const EVALUATIONS = 10;
const STEPS_BETWEEN = 10;
const SEED = 1;

/** A model and the adapter on it. Lives in the worker; the page calls it from afar and stays free for its user. */
export class Session {
  private model!: CausalLM;
  private tokenizer!: Tokenizer;
  private adapter: Attached<CausalLM> | null = null;
  private stopping = new AbortController();

  /** Opens the device and loads the base model. */
  async load(choice: DeviceChoice, onBytes: (bytes: number) => void): Promise<Ready> {
    const [device, files] = await Promise.all([openDevice(choice), downloadFolder(MODEL, onBytes)]);
    setDefaultBackend(device.backend);
    this.model = await fromPretrained(files);
    this.tokenizer = await loadTokenizer(files);
    const { total } = this.model.countParameters();
    return { device: device.name, note: device.note, parameters: total };
  }

  /**
   * Trains a new adapter, in the place of any that was there.
   *
   * @param text What to learn; null takes Moby-Dick.
   */
  async train(
    { rank, lr, steps, batch, length }: Settings,
    text: string | null,
    onEvent: (event: TrainEvent) => void,
  ): Promise<TrainResult> {
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    const options = { length, tokens: steps * batch * length };
    const texts =
      text === null ? await mobyDick(this.tokenizer, options) : ownText(text, this.tokenizer, options);
    const data = new TrainingData(texts.train, { length, batch, seed: SEED });
    const schedule = cosineSchedule({
      peak: lr,
      warmup: Math.min(WARMUP, steps),
      total: steps,
      final: lr / 10,
    });

    this.removeAdapter();
    // New words matter most when a model meets a book, so the output head is trained with the layers.
    const targets = [...LAYERS, this.model.outputHead];
    const adapter = attach(this.model, lora, { rank, alpha: 2 * rank }, { targets, key: key(SEED) });
    const optimizer = new AdamW(this.model.trainableParameters(), { lr: schedule, weightDecay: 0 });
    const every = Math.max(STEPS_BETWEEN, Math.ceil(steps / EVALUATIONS));
    try {
      const scored = texts.heldOut.length > 0;
      if (scored) onEvent(await this.score(texts.heldOut.map(batchTensors)));
      const result = await train({
        model: this.model,
        optimizer,
        data,
        steps,
        seed: SEED,
        signal,
        onEvent,
        ...(scored && { evaluate: { batches: texts.heldOut, every } }),
      });
      if (result.step > 0) this.adapter = adapter;
      else adapter.detach();
      return result;
    } catch (error) {
      adapter.detach(); // half of an update is worth nothing
      throw error;
    }
  }

  /** Ends the training after the step under way; what was learnt so far stays. */
  stop(): void {
    this.stopping.abort();
  }

  /** Continues a prompt, with the adapter or without, and gives the text as it grows. */
  async write(
    prompt: string,
    { tokens, temperature }: WriteOptions,
    adapted: boolean,
    onText: (text: string) => void,
  ): Promise<string> {
    this.adapter?.enable(adapted);
    try {
      const written: number[] = [];
      for await (const id of generate(this.model, this.tokenizer.encode(prompt), {
        maxNewTokens: tokens,
        greedy: temperature === 0,
        ...(temperature > 0 && { temperature }),
        topK: 40,
        repetitionPenalty: 1.1,
        seed: 7,
      })) {
        written.push(id);
        onText(this.tokenizer.decode(written));
      }
      return this.tokenizer.decode(written);
    } finally {
      this.adapter?.enable();
    }
  }

  /** The adapter's files in PEFT's form, by name. */
  async saveAdapter(): Promise<Map<string, Uint8Array>> {
    if (this.adapter === null) throw new Error("There is no adapter yet: train one first.");
    return peftFiles(this.adapter, { baseModel: "lowrank/quickstart" });
  }

  /** Puts an adapter from PEFT's files onto the model, in the place of any that was there. */
  async openAdapter(files: ReadonlyMap<string, Uint8Array>): Promise<AdapterFacts> {
    // Under another name, so that the one that is there stays if these files are not good.
    const name = this.adapter?.name === "opened" ? "reopened" : "opened";
    const opened = await loadPeft(this.model, files, { name });
    this.removeAdapter();
    this.adapter = opened;
    return this.adapterFacts()!;
  }

  adapterFacts(): AdapterFacts | null {
    if (this.adapter === null) return null;
    const { layers } = this.adapter.report();
    return { layers: layers.length, parameters: layers.reduce((sum, { parameters }) => sum + parameters, 0) };
  }

  private removeAdapter(): void {
    this.adapter?.detach();
    this.adapter = null;
  }

  /** The held-out loss before the first step. */
  private async score(batches: ReturnType<typeof batchTensors>[]): Promise<TrainEvent> {
    const began = performance.now();
    const { loss, perplexity: value } = await perplexity(this.model, batches);
    return { type: "eval", step: 0, loss, perplexity: value, best: true, ms: performance.now() - began };
  }
}
