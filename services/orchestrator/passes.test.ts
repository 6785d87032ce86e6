import { describe, expect, it } from "vitest";
import { Passes } from "./passes.ts";

/** Passes that end when told to; `log` says what began. */
function controlled() {
  const log: string[] = [];
  const open = new Map<string, PromiseWithResolvers<void>>();
  const passes = new Passes({
    pass: (id) => {
      log.push(id);
      const pass = Promise.withResolvers<void>();
      open.set(id, pass);
      return pass.promise;
    },
    repeat: (id) => log.push(`again ${id}`),
  });
  return { passes, log, open };
}
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("passes", () => {
  it("are a few at once, and one does not wait for another", async () => {
    const { passes, log, open } = controlled();
    const all = (async () => {
      for (const id of ["large", "a", "b", "c"]) await passes.begin(id);
    })();
    await settle();
    expect(log).toEqual(["large", "a", "b"]);
    open.get("a")!.resolve();
    await all;
    expect(log).toEqual(["large", "a", "b", "c"]);
  });

  it("are one a service at a time: what comes meanwhile asks for another", async () => {
    const { passes, log, open } = controlled();
    for (let i = 0; i < 3; i++) await passes.begin("a");
    expect(log).toEqual(["a"]);
    open.get("a")!.resolve();
    await passes.ended();
    expect(log).toEqual(["a", "again a"]);
  });

  it("that fail tell so, at the next one's beginning or at the end", async () => {
    const { passes, open } = controlled();
    for (const id of ["a", "b", "c"]) await passes.begin(id);
    open.get("b")!.reject(new Error("wrong"));
    await settle(); // Nobody waits just now.
    await expect(passes.begin("d")).rejects.toThrow("wrong");
    await expect(passes.ended()).rejects.toThrow("wrong");
  });
});
