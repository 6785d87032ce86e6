import {
  Annotations,
  ContainerStatus,
  JobStatus,
  ReplicatedJob,
  ReplicatedService,
  Service,
  ServiceSpec,
  Task,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateStatus,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { describe, expect, it } from "vitest";
import { type Assessment, assess } from "./assess.ts";
import { Judge } from "./judge.ts";

const { RUNNING, PENDING, REJECTED, COMPLETE, SHUTDOWN, FAILED, REMOVE, READY } = TaskState;
const { UPDATING, PAUSED, ROLLBACK_COMPLETED, ROLLBACK_PAUSED } = UpdateStatus_UpdateState;

function service(replicas: number, init: Partial<Service> = {}): Service {
  const spec = ServiceSpec.create({
    annotations: Annotations.create({ name: "web" }),
    replicated: ReplicatedService.create({ replicas }),
  });
  return Service.create({ id: "s", spec, ...init });
}

/** A task made `at` milliseconds. */
function task(slot: number, state: TaskState, desiredState: TaskState = RUNNING, at = 1000, err = ""): Task {
  const empty = Task.create();
  return Task.create({
    id: `t${slot}-${at}`,
    slot,
    desiredState,
    meta: { ...empty.meta, createdAt: timestampOfMs(at) },
    status: TaskStatus.create({ state, err }),
  });
}

const updating = (state: UpdateStatus_UpdateState) =>
  service(1, { updateStatus: UpdateStatus.create({ state, message: "why" }) });

const look = (seen: Service, tasks: readonly Task[], wanted: number, rollback = false): Assessment =>
  assess({ service: seen, tasks, wanted }, { sinceMs: 1000, rollback });

describe("assess", () => {
  it.each<[string, Assessment, string, number]>([
    ["nothing yet", look(service(2), [], 2), "going", 0],
    ["one of two", look(service(2), [task(1, RUNNING), task(2, PENDING)], 2), "going", 1],
    ["all run", look(service(2), [task(1, RUNNING), task(2, RUNNING)], 2), "converged", 2],
    ["none wanted", look(service(0), [task(1, RUNNING, REMOVE)], 0), "converged", 0],
    ["one too many", look(service(1), [task(1, RUNNING), task(2, RUNNING)], 1), "going", 2],
    ["a dying one does not count", look(service(1), [task(1, RUNNING, SHUTDOWN)], 1), "going", 0],
    ["update under way", look(updating(UPDATING), [task(1, RUNNING)], 1), "going", 1],
    ["update paused", look(updating(PAUSED), [task(1, RUNNING)], 1), "failed", 1],
    ["rolled back", look(updating(ROLLBACK_COMPLETED), [task(1, RUNNING)], 1), "failed", 1],
    ["rolled back as asked", look(updating(ROLLBACK_COMPLETED), [task(1, RUNNING)], 1, true), "converged", 1],
    ["asked rollback paused", look(updating(ROLLBACK_PAUSED), [task(1, RUNNING)], 1, true), "failed", 1],
  ])("%s", (_what, assessment, verdict, done) => {
    expect([assessment.verdict, assessment.done]).toEqual([verdict, done]);
  });

  it("gives up when one slot has ended three times since the change, and says why", () => {
    const ends = [1000, 2000, 3000].map((at) => task(1, REJECTED, SHUTDOWN, at, `no image at ${at}`));
    expect(look(service(1), ends.slice(0, 2), 1).verdict).toBe("going");
    expect(look(service(1), ends, 1)).toMatchObject({
      verdict: "failed",
      reason: "task web.1 has ended 3 times: no image at 3000",
    });
    const before = [task(1, FAILED, SHUTDOWN, 10), task(1, FAILED, SHUTDOWN, 20), ends[0]!];
    expect(look(service(1), before, 1).verdict).toBe("going");
    const spread = [1, 2, 3].map((slot) => task(slot, REJECTED, SHUTDOWN));
    expect(look(service(3), spread, 3).verdict).toBe("going");
  });

  it("knows slots that wait from slots that are dead", () => {
    const dead = look(
      service(2),
      [task(1, COMPLETE, SHUTDOWN), task(2, FAILED, SHUTDOWN), task(2, READY, READY, 2000)],
      2,
    );
    expect(dead.slots.map((slot) => [slot.name, slot.state, slot.dead])).toEqual([
      ["web.1", "complete", true],
      ["web.2", "ready", false],
    ]);
    expect(look(service(1), [task(1, SHUTDOWN, SHUTDOWN)], 1).slots[0]?.dead).toBe(false);
  });

  it("counts completions of a job's present iteration", () => {
    const spec = ServiceSpec.create({
      ...service(1).spec,
      replicated: undefined,
      replicatedJob: ReplicatedJob.create(),
    });
    const job = service(1, { spec, jobStatus: JobStatus.create({ jobIteration: { index: 2 } }) });
    const completed = (iteration: number, slot: number) => ({
      ...task(slot, COMPLETE, COMPLETE),
      jobIteration: { index: iteration },
      status: TaskStatus.create({ state: COMPLETE, container: ContainerStatus.create() }),
    });
    expect(look(job, [completed(1, 0), completed(2, 1)], 2)).toMatchObject({ verdict: "going", done: 1 });
    expect(look(job, [completed(2, 0), completed(2, 1)], 2)).toMatchObject({ verdict: "converged", done: 2 });
    const failed = { ...task(0, FAILED, SHUTDOWN), nodeId: "n1" };
    expect(look(job, [failed, completed(2, 1)], 2).slots).toMatchObject([
      { name: "web.0", dead: true },
      { name: "web.1", dead: false },
    ]);
  });
});

describe("Judge", () => {
  const going: Assessment = { verdict: "going", done: 0, wanted: 1, reason: "", slots: [] };
  const converged: Assessment = { ...going, verdict: "converged" };
  const dead: Assessment = { ...going, slots: [{ name: "web.1", state: "complete", error: "", dead: true }] };

  it("ends when the service stayed converged for a second; a gap begins anew", () => {
    const judge = new Judge();
    const at = (ms: number, assessment: Assessment | undefined) => judge.judge(assessment, ms).t;
    expect([at(0, converged), at(900, converged), at(950, going), at(1000, converged)]).toEqual(Array(4).fill("wait"));
    expect([at(1999, converged), at(2000, converged)]).toEqual(["wait", "converged"]);
  });

  it("fails when a slot stays dead for two seconds of sight", () => {
    const judge = new Judge();
    expect(judge.judge(dead, 0).t).toBe("wait");
    expect(judge.judge(undefined, 1500).t).toBe("wait");
    expect(judge.judge(dead, 2500).t).toBe("wait");
    expect(judge.judge(dead, 4500)).toEqual({
      t: "failed",
      reason: "task web.1 ended and is not restarted: complete",
    });
  });
});
