import { expect, it } from "vitest";
import { linkSignals } from "./linked-signal.ts";

/** A signal that counts who listens. */
function source() {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--;
    remove(...args);
  };
  return { controller, signal, listeners: () => listeners };
}

it("aborts with the first source, for its reason, and listens to none from then on", () => {
  const [a, b] = [source(), source()];
  const { signal } = linkSignals(a.signal, b.signal);
  b.controller.abort("b");
  a.controller.abort("a");
  expect([signal.aborted, signal.reason, a.listeners(), b.listeners()]).toEqual([true, "b", 0, 0]);
});

it("is aborted from the start when a source is", () => {
  const a = source();
  expect(linkSignals(a.signal, AbortSignal.abort("before")).signal.reason).toBe("before");
  expect(a.listeners()).toBe(0);
});

it("leaves nothing with its sources once released", () => {
  const [a, b] = [source(), source()];
  const { signal, release } = linkSignals(a.signal, b.signal);
  release();
  a.controller.abort("a");
  expect([signal.aborted, a.listeners(), b.listeners()]).toEqual([false, 0, 0]);
});

it("listens to a source once, however many links there are", () => {
  const long = source();
  const links = Array.from({ length: 3 }, () => linkSignals(new AbortController().signal, long.signal));
  expect(long.listeners()).toBe(1);
  links[0]!.release();
  expect(long.listeners()).toBe(1);
  long.controller.abort("over");
  expect(links.map(({ signal }) => signal.reason)).toEqual([undefined, "over", "over"]);
  expect(long.listeners()).toBe(0);
});
