import { attach, lora } from "@lowrank/adapters";
import { Linear, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { key, normal, relu, type Tensor } from "@lowrank/tensor";

const model = new Sequential(new Linear(16, 32, { key: key(1) }), relu, new Linear(32, 4, { key: key(2) }));
const { share } = attach(model, lora, { rank: 4 }, { targets: "all-linear" }).report();
const x: Tensor = normal([64, 16], { key: key(3) });
const step = valueAndGrad(model, () => mse(model.forward(x), x.slice([null, [0, 4]])));
const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-2 });
const losses: number[] = [];
for (let i = 0; i < 60; i++) {
  const { value, grads } = step();
  await optimizer.step(grads, { also: [value] });
  losses.push(await value.item());
}
console.log(JSON.stringify({ first: losses[0], last: losses.at(-1), share }));
