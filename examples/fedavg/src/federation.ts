import { valueAndGrad } from "@lowrank/nn";
import { SGD } from "@lowrank/optim";
import { crossEntropy, type Parameter, type Tensor, tensor } from "@lowrank/tensor";
import { countOf, type Digits, order, pick, PIXELS } from "./digits.js";
import { type Form, isPersonal, type Network } from "./network.js";

/** Numbers that travel, by the path of their parameter. */
export type Message = ReadonlyMap<string, Float32Array>;

export interface FederationOptions {
  readonly form: Form;
  /** Passes of a client over its digits in a round. */
  readonly epochs: number;
  readonly batch: number;
  /** Rate of SGD, times `decay` after each round. */
  readonly lr: number;
  readonly decay: number;
  readonly seed: number;
}

export const bytesOf = (message: Message): number =>
  [...message.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);

/** Mean of messages with weights, number by number. */
export function average(messages: readonly Message[], weights: readonly number[]): Message {
  const total = weights.reduce((a, b) => a + b);
  return new Map(
    [...messages[0]!].map(([path, first]) => {
      const sum = new Float64Array(first.length);
      for (const [i, message] of messages.entries()) {
        const [numbers, share] = [message.get(path)!, weights[i]! / total];
        for (let j = 0; j < sum.length; j++) sum[j]! += share * numbers[j]!;
      }
      return [path, Float32Array.from(sum)];
    }),
  );
}

/**
 * Federated averaging in one process: the clients take turns on one network. In a round each gets the server's numbers, trains
 * on its own digits, and sends its numbers back; the server takes their mean, weighted by the counts of digits. Of factors it is
 * the factors that are averaged. All that goes either way is a message, and counted.
 *
 * Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1, with every client in every round.
 */
export class Federation {
  /** Bytes sent so far, both ways. */
  bytes = 0;
  rounds = 0;
  /** The numbers that the server has. */
  server: Message = new Map();
  /** What each client has for itself. */
  readonly personal: Message[];
  private readonly trained: Map<string, Parameter>;

  private constructor(
    readonly network: Network,
    readonly clients: readonly Digits[],
    readonly options: FederationOptions,
  ) {
    this.trained = new Map(network.trainableParameters());
    this.personal = clients.map(() => new Map());
  }

  static async start(network: Network, clients: readonly Digits[], options: FederationOptions) {
    const federation = new Federation(network, clients, options);
    federation.server = await federation.read((path) => !isPersonal(options.form, path));
    const own = await federation.read((path) => isPersonal(options.form, path));
    federation.personal.fill(own);
    return federation;
  }

  private async read(wanted: (path: string) => boolean): Promise<Message> {
    const read = [...this.trained]
      .filter(([path]) => wanted(path))
      .map(async ([path, p]) => [path, Float32Array.from(await p.data())] as const);
    return new Map(await Promise.all(read));
  }

  private write(message: Message): void {
    for (const [path, numbers] of message) {
      const p = this.trained.get(path)!;
      p.replace(tensor(numbers, { shape: p.shape }));
    }
  }

  private send(message: Message): Message {
    this.bytes += bytesOf(message);
    return message;
  }

  async round(): Promise<void> {
    const { form, lr, decay } = this.options;
    const answers: Message[] = [];
    for (const [c, digits] of this.clients.entries()) {
      this.write(this.send(this.server));
      this.write(this.personal[c]!);
      await this.train(digits, lr * decay ** this.rounds, c);
      answers.push(this.send(await this.read((path) => !isPersonal(form, path))));
      this.personal[c] = await this.read((path) => isPersonal(form, path));
    }
    this.server = average(answers, this.clients.map(countOf));
    this.rounds++;
  }

  /** Steps of SGD over a client's digits; the last batch of an epoch is filled up from its start. */
  private async train(digits: Digits, lr: number, client: number): Promise<void> {
    const { epochs, batch, seed } = this.options;
    const optimizer = new SGD(this.trained, { lr });
    const step = valueAndGrad(this.network, (x: Tensor, y: Tensor) =>
      crossEntropy(this.network.forward(x), y),
    );
    for (let epoch = 0; epoch < epochs; epoch++) {
      const places = await order(countOf(digits), ((seed * 1009 + this.rounds) * 101 + client) * 11 + epoch);
      for (let at = 0; at < places.length; at += batch) {
        const chosen = Array.from({ length: batch }, (_, i) => places[(at + i) % places.length]!);
        const { x, y } = tensors(pick(digits, chosen));
        await optimizer.step(step(x, y).grads);
      }
    }
  }

  /** Share of digits that the server's network, with a client's own part if one is named, gets right. */
  async accuracy(digits: Digits, client?: number): Promise<number> {
    this.write(this.server);
    if (client !== undefined) this.write(this.personal[client]!);
    let right = 0;
    for (let at = 0; at < countOf(digits); at += 500) {
      const part = Array.from({ length: Math.min(500, countOf(digits) - at) }, (_, i) => at + i);
      const { x } = tensors(pick(digits, part));
      const logits = await this.network.forward(x).data();
      for (const [i, place] of part.entries()) {
        const own = Array.from(logits.slice(10 * i, 10 * i + 10), Number);
        if (own.indexOf(Math.max(...own)) === digits.labels[place]) right++;
      }
    }
    return right / countOf(digits);
  }
}

const tensors = ({ pixels, labels }: Digits): { x: Tensor; y: Tensor } => ({
  x: tensor(pixels, { shape: [labels.length, PIXELS] }),
  y: tensor(labels, { dtype: "i32", shape: [labels.length] }),
});
