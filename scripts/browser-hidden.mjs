// A page that is hidden, frozen and shown again while it trains on WebGPU. Called by browser-check.mjs.
//
// Playwright makes every page of its own believe that it is in front, so these tabs are opened past it.

const STEPS = 40;
const PAUSE_MS = 1500;
/** What Playwright adds so that hidden pages run as visible ones do. */
export const MAKES_HIDDEN_PAGES_RUN = [
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
  "--disable-background-timer-throttling",
];

/** A tab as its user has it, by the DevTools protocol. */
class Tab {
  complaints = [];
  answers = new Map();
  calls = 0;

  static async open(cdp, url) {
    const tab = new Tab();
    const { targetId } = await cdp.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await cdp.send("Target.attachToTarget", { targetId, flatten: false });
    Object.assign(tab, { cdp, targetId, sessionId });
    cdp.on("Target.receivedMessageFromTarget", (event) => {
      if (event.sessionId === sessionId) tab.receive(JSON.parse(event.message));
    });
    await tab.send("Runtime.enable");
    await tab.send("Log.enable");
    await tab.send("Page.navigate", { url });
    return tab;
  }

  receive({ id, method, params, result, error }) {
    if (id !== undefined) {
      const { resolve, reject } = this.answers.get(id);
      this.answers.delete(id);
      if (error) reject(new Error(error.message));
      else resolve(result);
    } else if (method === "Runtime.exceptionThrown") {
      this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    } else if (method === "Runtime.consoleAPICalled" && ["error", "warning"].includes(params.type)) {
      this.complaints.push(params.args.map(({ value, description }) => value ?? description).join(" "));
    } else if (method === "Log.entryAdded" && ["error", "warning"].includes(params.entry.level)) {
      this.complaints.push(params.entry.text);
    }
  }

  send(method, params = {}) {
    const id = ++this.calls;
    return new Promise((resolve, reject) => {
      this.answers.set(id, { resolve, reject });
      const message = JSON.stringify({ id, method, params });
      this.cdp.send("Target.sendMessageToTarget", { sessionId: this.sessionId, message }).catch(reject);
    });
  }

  async evaluate(expression) {
    return (await this.send("Runtime.evaluate", { expression, returnByValue: true })).result.value;
  }

  step() {
    return this.evaluate("Number(document.querySelector('output')?.dataset.step ?? 0)");
  }

  async until(expression, ms = 120_000) {
    const last = Date.now() + ms;
    while (!(await this.evaluate(expression))) {
      if (Date.now() > last)
        throw new Error(`${expression} did not come true; ${this.complaints.join("; ")}`);
      await wait(10);
    }
  }

  untilStep(n) {
    return this.until(`Number(document.querySelector('output')?.dataset.step ?? 0) >= ${n}`);
  }

  async outcome() {
    await this.until("document.querySelector('output')?.dataset.done !== undefined");
    const outcome = JSON.parse(await this.evaluate("document.querySelector('output').textContent"));
    if (outcome.error) throw new Error(outcome.error);
    return outcome;
  }

  show() {
    return this.cdp.send("Target.activateTarget", { targetId: this.targetId });
  }

  close() {
    return this.cdp.send("Target.closeTarget", { targetId: this.targetId });
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function hiddenChecks(browser, origin, { check, expect }) {
  const cdp = await browser.newBrowserCDPSession();
  const front = await Tab.open(cdp, "about:blank");
  for (const place of ["main", "worker"]) {
    await check(
      `WebGPU, ${place}: a page hidden, frozen and shown while it trains has the losses of one that was not`,
      async () => {
        const address = `${origin}/plain/?place=${place}&steps=${STEPS}`;
        const calm = await Tab.open(cdp, address);
        await calm.show();
        const wanted = await calm.outcome();
        await calm.close();

        const tab = await Tab.open(cdp, address);
        await tab.show();
        await tab.untilStep(5);
        await front.show();
        await tab.until("document.visibilityState === 'hidden'", 10_000);
        const hiddenAt = await tab.step();
        await tab.untilStep(hiddenAt + 5); // goes on in the background
        await tab.send("Page.setWebLifecycleState", { state: "frozen" });
        await wait(200);
        const frozenAt = await tab.step();
        await wait(PAUSE_MS);
        const still = await tab.step();
        await tab.send("Page.setWebLifecycleState", { state: "active" });
        await tab.show();
        const got = await tab.outcome();
        await tab.close();

        console.log(
          `       hidden at step ${hiddenAt}, frozen at ${frozenAt} of ${STEPS}, ${got.life.join(", ")}`,
        );
        expect(wanted.life.length === 0, "the first page to stay in front", wanted.life.join());
        expect(
          got.life.join() === "hidden,freeze,resume,visible",
          "the life of a hidden page",
          got.life.join(),
        );
        expect(still === frozenAt && frozenAt < STEPS, "no step of a frozen page", `${frozenAt} to ${still}`);
        for (const what of ["losses", "trained"]) {
          const same = JSON.stringify(got[what]) === JSON.stringify(wanted[what]);
          expect(same, `${what} ${wanted[what]}`, got[what]);
        }
        expect(
          got.losses.at(-1) < got.losses[0] / 2,
          "the loss to halve",
          `${got.losses[0]} to ${got.losses.at(-1)}`,
        );
        const complaints = [...calm.complaints, ...tab.complaints].join("; ");
        expect(complaints === "", "a silent console", complaints);
      },
    );
  }
  await front.close();
}
