import { ContainerStatus, Task, TaskState, TaskStatus, taskStateName } from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { describe, expect, it } from "vitest";
import { ExitError, FatalTaskError, TemporaryError } from "./exec/controller.ts";
import { TaskManager } from "./task-manager.ts";
import { FakeController } from "./test-executor.ts";

const { ASSIGNED, RUNNING, READY, SHUTDOWN } = TaskState;

function manage(
  options: { readonly desired?: TaskState; readonly state?: TaskState; readonly saved?: () => Promise<void> } = {},
) {
  const clock = new FakeClock();
  const controller = new FakeController();
  const task = Task.create({
    id: "t1",
    desiredState: options.desired ?? RUNNING,
    status: TaskStatus.create({ state: options.state ?? ASSIGNED }),
  });
  const told: string[] = [];
  const manager = new TaskManager({
    task,
    controller,
    clock,
    log: nullLogger,
    onStatus: ({ status }) => told.push(`${taskStateName(status.state)}${status.err ? ` (${status.err})` : ""}`),
    saved: options.saved ?? (async () => undefined),
  });
  manager.start();
  return {
    clock,
    controller,
    manager,
    told,
    desire: (desiredState: TaskState) => manager.update({ ...task, desiredState }),
  };
}

describe("a task", () => {
  it("is prepared, started and waited for; its exit code ends it", async () => {
    const { clock, controller, manager, told } = manage();
    await clock.advance(0);
    expect(told).toEqual(["ACCEPTED", "PREPARING", "READY", "STARTING", "RUNNING"]);
    expect(manager.task.status.container).toMatchObject({ containerId: "fake" });
    controller.exit(new ExitError(3));
    await clock.advance(0);
    expect(told.at(-1)).toBe("FAILED (task: non-zero exit (3))");
    expect(manager.task.status.container?.exitCode).toBe(3);
  });

  it("is started only when a swarmd that takes over would know that it was prepared", async () => {
    const saving = Promise.withResolvers<void>();
    const { clock, controller, told, manager } = manage({ saved: () => saving.promise });
    await clock.advance(0);
    expect(told.at(-1)).toBe("STARTING");
    expect(controller.calls).not.toContain("start");
    saving.resolve();
    await clock.advance(0);
    expect(controller.calls).toContain("start");
    expect(manager.task.status.state).toBe(RUNNING);
  });

  it("tells how far an operation is, while it lasts", async () => {
    const { clock, controller, manager, desire } = manage();
    controller.block("prepare");
    await clock.advance(0);
    const tell = controller.onProgress!;
    tell("pulling 40 %");
    expect(manager.task.status).toMatchObject({ state: TaskState.PREPARING, message: "pulling 40 %" });
    desire(SHUTDOWN);
    await clock.advance(0);
    tell("pulling 50 %");
    expect(manager.task.status.message).not.toBe("pulling 50 %");
  });

  it("that ends with 0 is COMPLETE", async () => {
    const { clock, controller, told } = manage();
    await clock.advance(0);
    controller.exit();
    await clock.advance(0);
    expect(told.at(-1)).toBe("COMPLETE");
  });

  it("waits at READY for more to be desired", async () => {
    const { clock, told, desire } = manage({ desired: READY });
    await clock.advance(0);
    expect(told.at(-1)).toBe("READY");
    desire(RUNNING);
    await clock.advance(0);
    expect(told.at(-1)).toBe("RUNNING");
  });

  it("is shut down when that is desired, even while it prepares", async () => {
    const { clock, controller, told, desire } = manage();
    controller.block("prepare");
    await clock.advance(0);
    expect(told.at(-1)).toBe("PREPARING");
    desire(SHUTDOWN);
    await clock.advance(0);
    expect(told.at(-1)).toBe("SHUTDOWN");
    expect(controller.calls).toEqual(["prepare", "update", "shutdown"]);
  });

  it("goes on preparing when an update asks for nothing else", async () => {
    const { clock, controller, desire } = manage({ desired: READY });
    controller.block("prepare");
    await clock.advance(0);
    desire(RUNNING);
    await clock.advance(0);
    expect(controller.calls).toEqual(["prepare"]);
  });

  it("is tried again each second while errors are temporary, and tells why once", async () => {
    const { clock, controller, told } = manage();
    controller.fail("prepare", new TemporaryError("registry away"));
    await clock.advance(2_500);
    expect(controller.calls.filter((call) => call === "prepare")).toHaveLength(3);
    expect(told).toEqual(["ACCEPTED", "PREPARING", "PREPARING (registry away)"]);
    controller.fail("prepare", undefined);
    await clock.advance(1_000);
    expect(told.at(-1)).toBe("RUNNING");
  });

  it("is REJECTED when it never can be prepared", async () => {
    const { clock, controller, told } = manage();
    controller.fail("prepare", new FatalTaskError("no such image"));
    await clock.advance(0);
    expect(told.at(-1)).toBe("REJECTED (no such image)");
  });

  it("that runs already is only waited for, and left running when management ends", async () => {
    const { clock, controller, manager } = manage({ state: RUNNING });
    await clock.advance(0);
    await manager.close();
    expect(controller.calls).toEqual(["wait"]);
  });

  it("keeps what it desires when an older word comes", async () => {
    const { clock, manager, desire } = manage();
    await clock.advance(0);
    desire(SHUTDOWN);
    desire(RUNNING);
    await clock.advance(0);
    expect(manager.task.desiredState).toBe(SHUTDOWN);
    expect(ContainerStatus.create(manager.task.status.container).containerId).toBe("fake");
  });
});
