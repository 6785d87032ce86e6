import {
  AssignmentChange_AssignmentAction,
  type AssignmentsMessage,
  Config,
  ConfigReference,
  ContainerSpec,
  Secret,
  SecretReference,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
} from "@starling/api";
import type { EventOf } from "@starling/store";
import { describe, expect, it } from "vitest";
import { AssignmentSet, canWait } from "./assignments.ts";

const reader = { secret: (id: string) => Secret.create({ id }), config: (id: string) => Config.create({ id }) };
const { RUNNING, ASSIGNED, PENDING, FAILED, SHUTDOWN, PREPARING } = TaskState;

function task(id: string, state: TaskState, uses: readonly string[] = [], desiredState: TaskState = RUNNING): Task {
  const container = ContainerSpec.create({
    secrets: uses.filter((use) => use.startsWith("s")).map((secretId) => SecretReference.create({ secretId })),
    configs: uses.filter((use) => use.startsWith("c")).map((configId) => ConfigReference.create({ configId })),
  });
  return Task.create({ id, desiredState, status: TaskStatus.create({ state }), spec: TaskSpec.create({ container }) });
}

/** `+t1 -s1`, in the message's order. */
function told({ changes }: AssignmentsMessage): string {
  return changes
    .map(({ action, assignment }) => {
      const { id } = (assignment?.task ?? assignment?.secret ?? assignment?.config)!;
      return `${action === AssignmentChange_AssignmentAction.UPDATE ? "+" : "-"}${id}`;
    })
    .join(" ");
}

function setOf(...tasks: readonly Task[]) {
  const set = new AssignmentSet();
  for (const each of tasks) set.observe(each.id, each, reader);
  return set;
}

/** Events of a task of this node. */
function changesOf(nodeId: string) {
  const on = (each: Task): Task => ({ ...each, nodeId });
  return {
    create: (object: Task): EventOf<"task"> => ({ kind: "task", action: "create", object: on(object) }),
    update: (old: Task, object: Task): EventOf<"task"> => ({
      kind: "task",
      action: "update",
      object: on(object),
      old: on(old),
    }),
  };
}

describe("assignments of a node", () => {
  it("begin with all that is assigned, dependencies before the tasks that need them", () => {
    const set = setOf(task("t1", ASSIGNED, ["s1", "c1"]), task("t2", RUNNING, ["s1"]), task("t3", PENDING));
    const message = set.complete();
    expect(told(message)).toBe("+s1 +c1 +t1 +t2");
    expect([message.appliesTo, message.resultsIn]).toEqual(["", "1"]);
  });

  it("go on with what changed, each message applying to the one before", () => {
    const set = setOf(task("t1", ASSIGNED));
    set.complete();
    set.observe("t2", task("t2", ASSIGNED, ["s1"]), reader);
    const second = set.incremental();
    expect(told(second)).toBe("+s1 +t2");
    expect([second.appliesTo, second.resultsIn]).toEqual(["1", "2"]);
    expect(set.hasChanges).toBe(false);
  });

  it("do not echo what the agent reported, but tell a new desired state", () => {
    const set = setOf(task("t1", ASSIGNED));
    set.complete();
    set.observe("t1", task("t1", PREPARING), reader);
    expect(set.hasChanges).toBe(false);
    set.observe("t1", task("t1", PREPARING, [], SHUTDOWN), reader);
    expect(told(set.incremental())).toBe("+t1");
  });

  it("wake nobody by what the agent itself has reported, until that ends a task", () => {
    const { create, update } = changesOf("n1");
    expect(canWait(create(task("t1", ASSIGNED)))).toBe(false);
    expect(canWait(update(task("t1", PENDING), task("t1", ASSIGNED)))).toBe(false);
    expect(canWait(update(task("t1", ASSIGNED), task("t1", PREPARING)))).toBe(true);
    expect(canWait(update(task("t1", PREPARING), task("t1", PREPARING, [], SHUTDOWN)))).toBe(false);
    expect(canWait(update(task("t1", RUNNING), task("t1", FAILED)))).toBe(false);
    const elsewhere = { ...update(task("t1", RUNNING), task("t1", RUNNING)), old: task("t1", RUNNING) };
    expect(canWait(elsewhere)).toBe(false);
  });

  it("take a dependency back when its last user ended or is gone", () => {
    const set = setOf(task("t1", RUNNING, ["s1"]), task("t2", RUNNING, ["s1", "c1"]));
    set.complete();
    set.observe("t1", task("t1", FAILED, ["s1"]), reader);
    expect(set.hasChanges).toBe(false);
    set.observe("t2", undefined, reader);
    expect(told(set.incremental())).toBe("-s1 -c1 -t2");
  });

  it("give no dependencies for tasks that had ended before", () => {
    expect(told(setOf(task("t1", FAILED, ["s1"])).complete())).toBe("+t1");
  });

  it("leave out a dependency that does not exist", () => {
    const set = new AssignmentSet();
    set.observe("t1", task("t1", ASSIGNED, ["s1"]), { secret: () => undefined, config: () => undefined });
    expect(told(set.complete())).toBe("+t1");
  });
});
