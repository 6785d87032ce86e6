import { TaskState, TaskStatus, taskStateName } from "@starling/api";
import { FakeClock, nullLogger, SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import { Reporter, type SendStatuses } from "./reporter.ts";

const { PREPARING, RUNNING } = TaskState;

function setUp() {
  const clock = new FakeClock();
  const reporter = new Reporter({ clock, log: nullLogger });
  const sent: string[] = [];
  let refuse: (ids: readonly string[]) => SwarmError | undefined = () => undefined;
  const send: SendStatuses = async (updates) => {
    const error = refuse(updates.map(({ taskId }) => taskId));
    if (error) throw error;
    sent.push(updates.map(({ taskId, status }) => `${taskId} ${taskStateName(status!.state)}`).join(", "));
  };
  return {
    clock,
    reporter,
    sent,
    attach: () => reporter.attach(send),
    report: (id: string, state: TaskState) => reporter.report(id, TaskStatus.create({ state })),
    refuseWhen: (when: typeof refuse) => {
      refuse = when;
    },
  };
}

describe("reports", () => {
  it("go together, the newest of each task, and once", async () => {
    const { clock, sent, attach, report } = setUp();
    attach();
    report("t1", PREPARING);
    report("t1", RUNNING);
    report("t2", PREPARING);
    await clock.advance(1_000);
    expect(sent).toEqual(["t1 RUNNING, t2 PREPARING"]);
  });

  it("wait for a session, and outlive one that ends", async () => {
    const { clock, sent, attach, report, refuseWhen } = setUp();
    report("t1", RUNNING);
    await clock.advance(1_000);
    refuseWhen(() => new SwarmError("Unavailable", "no leader"));
    const detach = attach();
    await clock.advance(150);
    detach();
    refuseWhen(() => undefined);
    await clock.advance(1_000);
    expect(sent).toEqual([]);
    attach();
    await clock.advance(1_000);
    expect(sent).toEqual(["t1 RUNNING"]);
  });

  it("of which one is refused for good do not hold up the others", async () => {
    const { clock, sent, attach, report, refuseWhen } = setUp();
    refuseWhen((ids) => (ids.includes("bad") ? new SwarmError("PermissionDenied", "not yours") : undefined));
    report("bad", RUNNING);
    report("good", RUNNING);
    attach();
    await clock.advance(1_000);
    expect(sent).toEqual(["good RUNNING"]);
  });
});
