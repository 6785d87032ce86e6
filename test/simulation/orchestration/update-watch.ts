import {
  durationMs,
  type Node,
  NodeSpec_Availability,
  NodeStatus_State,
  type Service,
  type Task,
  TaskState,
  timestampMs,
  UpdateStatus_UpdateState,
} from "@starling/api";
import type { StoreEvent } from "@starling/store";

/** A slot that an update works on: until its new task runs and the delay after that has passed. */
interface Work {
  readonly taskId: string;
  /** Of a global service's task: while its node takes no tasks, the others do not wait for it. */
  readonly nodeId: string;
  untilMs: number;
}

/** Follows commits and says when an update works on more slots at once than its parallelism allows. */
export class UpdateWatch {
  readonly #services = new Map<string, Service>();
  readonly #nodes = new Map<string, Node>();
  /** Tasks that have not ended, by slot. */
  readonly #slots = new Map<string, Map<string, Task>>();
  /** By service, by slot. */
  readonly #work = new Map<string, Map<string, Work>>();

  /** Takes the changes of one commit; tells what is wrong with them. */
  commit(changes: readonly StoreEvent[]): readonly string[] {
    const violations: string[] = [];
    for (const event of changes) {
      if (event.kind === "service")
        this.#service(event.action === "remove" ? undefined : event.object, event.object.id);
      if (event.kind === "node") this.#node(event.object);
    }
    const created = changes.flatMap((event) =>
      event.kind === "task" && event.action === "create" ? [event.object] : [],
    );
    const steps = created.filter((task) => this.#isStep(task));
    for (const event of changes) if (event.kind === "task") this.#task(event.object, event.action === "remove");
    for (const task of steps) {
      const work = this.#work.get(task.serviceId) ?? new Map<string, Work>();
      this.#work.set(
        task.serviceId,
        work.set(slotOf(task), { taskId: task.id, nodeId: task.nodeId, untilMs: Number.POSITIVE_INFINITY }),
      );
    }
    for (const id of new Set(steps.map(({ serviceId }) => serviceId))) violations.push(...this.#check(id, steps[0]!));
    return violations;
  }

  #service(service: Service | undefined, id: string): void {
    const old = this.#services.get(id);
    if (service === undefined) this.#services.delete(id);
    else this.#services.set(id, service);
    if (old?.specVersion?.index !== service?.specVersion?.index) this.#work.delete(id);
  }

  /** What replaces tasks of a node that is lost is not the update's doing any more. */
  #node(node: Node): void {
    this.#nodes.set(node.id, node);
    if (this.#isWell(node.id)) return;
    for (const work of this.#work.values()) {
      for (const [slot, { taskId }] of work) {
        const beside = [...(this.#slots.get(slot)?.values() ?? [])].filter(({ id }) => id !== taskId);
        if (beside.some(({ nodeId }) => nodeId === node.id)) work.delete(slot);
      }
    }
  }

  /** The task takes the place of one of another spec that was well where it was. */
  #isStep(task: Task): boolean {
    const service = this.#services.get(task.serviceId);
    if (service === undefined || service.jobStatus !== undefined) return false;
    if (task.specVersion?.index !== service.specVersion?.index) return false;
    const beside = [...(this.#slots.get(slotOf(task))?.values() ?? [])];
    return beside.some(
      (old) =>
        old.desiredState <= TaskState.RUNNING &&
        old.specVersion?.index !== task.specVersion?.index &&
        (old.nodeId === "" || this.#isWell(old.nodeId)),
    );
  }

  #isWell(nodeId: string): boolean {
    const node = this.#nodes.get(nodeId);
    return (
      node !== undefined &&
      node.status.state !== NodeStatus_State.DOWN &&
      node.spec.availability !== NodeSpec_Availability.DRAIN
    );
  }

  #takesTasks(nodeId: string): boolean {
    const { status, spec } = this.#nodes.get(nodeId)!;
    return status.state === NodeStatus_State.READY && spec.availability === NodeSpec_Availability.ACTIVE;
  }

  #task(task: Task, gone: boolean): void {
    const slot = slotOf(task);
    const tasks = this.#slots.get(slot) ?? new Map<string, Task>();
    const ended = gone || task.status.state > TaskState.RUNNING;
    if (!ended) this.#slots.set(slot, tasks.set(task.id, task));
    else if (tasks.delete(task.id) && tasks.size === 0) this.#slots.delete(slot);
    const work = this.#work.get(task.serviceId);
    const own = work?.get(slot);
    if (work === undefined || own?.taskId !== task.id) return;
    if (ended || task.desiredState > TaskState.RUNNING) work.delete(slot);
    else if (task.status.state === TaskState.RUNNING && own.untilMs === Number.POSITIVE_INFINITY) {
      const delayMs = durationMs(this.#configOf(task.serviceId)?.delay, 0);
      own.untilMs = timestampMs(task.status.appliedAt!) + delayMs;
    }
  }

  #check(serviceId: string, { meta }: Task): readonly string[] {
    const parallelism = this.#configOf(serviceId)?.parallelism ?? 1;
    const now = timestampMs(meta.createdAt!);
    const work = this.#work.get(serviceId)!;
    for (const [slot, { untilMs }] of work) if (untilMs <= now) work.delete(slot);
    const slots = [...work.values()].filter(({ nodeId }) => nodeId === "" || this.#takesTasks(nodeId));
    if (parallelism === 0 || slots.length <= parallelism) return [];
    return [
      `${serviceId}: its update works on ${slots.length} slots at once, ${parallelism} are allowed: ${[...work.keys()]}`,
    ];
  }

  #configOf(serviceId: string) {
    const service = this.#services.get(serviceId);
    const back = service?.updateStatus?.state === UpdateStatus_UpdateState.ROLLBACK_STARTED;
    return back ? service?.spec.rollback : service?.spec.update;
  }
}

function slotOf(task: Task): string {
  return `${task.serviceId}.${task.slot || task.nodeId}`;
}
