/** Pure: no clock, no I/O, no randomness. */
import {
  Assignment,
  AssignmentChange,
  AssignmentChange_AssignmentAction,
  AssignmentsMessage,
  AssignmentsMessage_Type,
  Config,
  hasStopped,
  ResourceType,
  Secret,
  sameBut,
  Task,
  TaskState,
} from "@starling/api";
import type { EventOf } from "@starling/store";

/** Where dependencies are looked up. */
export interface DependencyReader {
  secret(id: string): Secret | undefined;
  config(id: string): Config | undefined;
}

type Dependency = { readonly kind: "secret" | "config"; readonly id: string };

/**
 * What one node was told on its Assignments stream. A task is told once it is ASSIGNED, its secrets and configs with
 * the first task that uses them; these are taken back when their last user has ended.
 *
 * Invariant: `sequence` counts the messages given out; each applies to the state that its predecessor left.
 */
export class AssignmentSet {
  readonly #tasks = new Map<string, Task>();
  /** Ids of the tasks that use a dependency, by its key. */
  readonly #users = new Map<string, Set<string>>();
  readonly #changes = new Map<string, AssignmentChange>();
  #sequence = 0;

  /** Takes a task's present state; undefined when it is gone from the store (or from this node). */
  observe(taskId: string, task: Task | undefined, reader: DependencyReader): void {
    if (task === undefined) this.#remove(taskId);
    else if (task.status.state >= TaskState.ASSIGNED) this.#put(task, reader);
  }

  get hasChanges(): boolean {
    return this.#changes.size > 0;
  }

  /** The first message: everything. */
  complete(): AssignmentsMessage {
    return this.#message(AssignmentsMessage_Type.COMPLETE);
  }

  /** What changed since the last message. */
  incremental(): AssignmentsMessage {
    return this.#message(AssignmentsMessage_Type.INCREMENTAL);
  }

  #put(task: Task, reader: DependencyReader): void {
    const known = this.#tasks.get(task.id);
    this.#tasks.set(task.id, task);
    if (known === undefined) {
      // Ended before this stream began: its dependencies are of no use any more.
      if (!hasStopped(task)) this.#use(task, reader);
    } else if (hasStopped(task)) {
      this.#release(known);
    }
    if (known !== undefined && !isNews(task, known)) return;
    this.#change(`task ${task.id}`, AssignmentChange_AssignmentAction.UPDATE, { task });
  }

  #remove(taskId: string): void {
    const known = this.#tasks.get(taskId);
    if (known === undefined) return;
    this.#tasks.delete(taskId);
    this.#release(known);
    this.#change(`task ${taskId}`, AssignmentChange_AssignmentAction.REMOVE, { task: Task.create({ id: taskId }) });
  }

  #use(task: Task, reader: DependencyReader): void {
    for (const { kind, id } of dependenciesOf(task)) {
      const key = `${kind} ${id}`;
      const users = this.#users.get(key) ?? new Set();
      this.#users.set(key, users.add(task.id));
      if (users.size > 1) continue;
      const found = kind === "secret" ? reader.secret(id) : reader.config(id);
      if (found === undefined) continue;
      this.#change(key, AssignmentChange_AssignmentAction.UPDATE, { [kind]: found });
    }
  }

  #release(task: Task): void {
    for (const { kind, id } of dependenciesOf(task)) {
      const key = `${kind} ${id}`;
      const users = this.#users.get(key);
      if (!users?.delete(task.id) || users.size > 0) continue;
      this.#users.delete(key);
      const gone = kind === "secret" ? { secret: Secret.create({ id }) } : { config: Config.create({ id }) };
      this.#change(key, AssignmentChange_AssignmentAction.REMOVE, gone);
    }
  }

  #change(key: string, action: AssignmentChange_AssignmentAction, assignment: Partial<Assignment>): void {
    this.#changes.set(key, AssignmentChange.create({ action, assignment: Assignment.create(assignment) }));
  }

  #message(type: AssignmentsMessage_Type): AssignmentsMessage {
    const appliesTo = this.#sequence === 0 ? "" : String(this.#sequence);
    this.#sequence++;
    const changes = [...this.#changes.values()];
    this.#changes.clear();
    // Dependencies first, so that a task is never told before what it needs.
    changes.sort((a, b) => Number(a.assignment?.task !== undefined) - Number(b.assignment?.task !== undefined));
    return AssignmentsMessage.create({ type, appliesTo, resultsIn: String(this.#sequence), changes });
  }
}

const noDependencies: readonly Dependency[] = [];

/** Secrets and configs that a task may read, each once. */
export function dependenciesOf({ spec }: Task): readonly Dependency[] {
  const { secrets = [], configs = [] } = spec.container ?? {};
  if (spec.resourceReferences.length + secrets.length + configs.length === 0) return noDependencies;
  const found = new Map<string, Dependency>();
  const add = (kind: Dependency["kind"], id: string) => found.set(`${kind} ${id}`, { kind, id });
  for (const { resourceType, resourceId } of spec.resourceReferences) {
    if (resourceType === ResourceType.SECRET) add("secret", resourceId);
    if (resourceType === ResourceType.CONFIG) add("config", resourceId);
  }
  for (const { secretId } of secrets) add("secret", secretId);
  for (const { configId } of configs) add("config", configId);
  return [...found.values()];
}

/** Whether its agent is to be told what a task has become: states up to ASSIGNED are set by managers, later ones it reported itself. */
function isNews(task: Task, known: Task): boolean {
  return task.status.state <= TaskState.ASSIGNED || !sameForAgent(known, task);
}

/** Whether a change of a task can wait until its node is told of another: an agent's own report, of a task that still uses what it did. */
export function canWait({ action, object, old }: EventOf<"task">): boolean {
  if (action !== "update" || old === undefined || object.nodeId !== old.nodeId) return false;
  return !hasStopped(object) && !isNews(object, old);
}

/** Nothing differs but what the agent itself reports and the bookkeeping of the store. */
const sameForAgent = sameBut(Task.create(), "meta", "status");
