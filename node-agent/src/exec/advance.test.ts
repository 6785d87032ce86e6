import { TaskState } from "@starling/api";
import { describe, expect, it } from "vitest";
import { failureOf, nextStep } from "./advance.ts";
import { ExitError, FatalTaskError, TemporaryError } from "./controller.ts";

const S = TaskState;
const states = Object.values(S).sort((a, b) => a - b);

/** `prepare->READY`, `->ACCEPTED`, or `rest`. */
function step(state: TaskState, desired: TaskState): string {
  const next = nextStep(state, desired);
  if (next.t === "rest") return "rest";
  const name = Object.keys(S).find((key) => S[key as keyof typeof S] === next.to);
  return `${next.t === "operate" ? next.operation : ""}->${name}`;
}

describe("nextStep", () => {
  it("takes a task from assignment to its end", () => {
    const path = [S.ASSIGNED, S.ACCEPTED, S.PREPARING, S.READY, S.STARTING, S.RUNNING, S.COMPLETE];
    expect(path.map((state) => step(state, S.RUNNING))).toEqual([
      "->ACCEPTED",
      "->PREPARING",
      "prepare->READY",
      "->STARTING",
      "start->RUNNING",
      "wait->COMPLETE",
      "rest",
    ]);
  });

  it("holds a task back at READY until more is desired", () => {
    expect(step(S.PREPARING, S.READY)).toBe("prepare->READY");
    expect(step(S.READY, S.READY)).toBe("rest");
  });

  it("shuts down whatever has not ended, and nothing that has", () => {
    for (const state of states) {
      for (const desired of [S.SHUTDOWN, S.REMOVE]) {
        expect(step(state, desired)).toBe(state < S.COMPLETE ? "shutdown->SHUTDOWN" : "rest");
      }
    }
  });

  it("never moves back", () => {
    for (const state of states) {
      for (const desired of states) {
        const next = nextStep(state, desired);
        if (next.t !== "rest") expect(next.to).toBeGreaterThan(state);
      }
    }
  });
});

describe("failureOf", () => {
  it("rejects before STARTING and fails from then on", () => {
    const error = new FatalTaskError("no such image");
    expect(failureOf(S.PREPARING, "prepare", error)).toMatchObject({
      t: "over",
      state: S.REJECTED,
      err: "no such image",
    });
    expect(failureOf(S.STARTING, "start", error)).toMatchObject({ t: "over", state: S.FAILED });
    expect(failureOf(S.RUNNING, "wait", new ExitError(3))).toMatchObject({ state: S.FAILED, exitCode: 3 });
  });

  it("tries temporary errors again, and every shutdown that is not hopeless", () => {
    expect(failureOf(S.PREPARING, "prepare", new TemporaryError("registry away"))).toEqual({
      t: "retry",
      err: "registry away",
    });
    expect(failureOf(S.RUNNING, "shutdown", new Error("busy")).t).toBe("retry");
    expect(failureOf(S.RUNNING, "shutdown", new FatalTaskError("lost")).t).toBe("over");
  });
});
