import { type Task, TaskState } from "@starling/api";
import { type Clock, inSteps, type Logger, Pacer, SwarmError } from "@starling/base";
import { all, byService, bySlot, type MemoryStore } from "@starling/store";
import { hasEnded, isHeld } from "../slot.ts";
import { isUpdating } from "../update/plan.ts";
import { isDone, surplusHistory } from "./reap.ts";

const delayMs = 100;
const removalsPerTransaction = 200;

/**
 * Deletes task records: those to be removed once nothing of them is left on their node, and the history beyond the
 * cluster's TaskHistoryRetentionLimit per slot. Runs a short while after what made it necessary, so that bursts cost one pass.
 */
export function createTaskReaper(options: {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
}): { run(signal: AbortSignal): Promise<void> } {
  const { store, clock } = options;
  const log = options.log.with({ station: "task-reaper" });
  const pacer = new Pacer(clock);
  return {
    async run(signal) {
      const doneIds = new Set<string>();
      const slots = new Map<string, Task>();
      let wake: () => void = () => undefined;
      const noteSlot = (task: Task) => {
        if (task.serviceId === "" || isDone(task)) return;
        slots.set(slotName(task), task);
        wake();
      };
      const note = (task: Task) => {
        if (hasEnded(task)) noteSlot(task);
        if (!isDone(task)) return;
        doneIds.add(task.id);
        wake();
      };
      const events = await follow(note, signal);
      signal.addEventListener("abort", () => wake(), { once: true });
      const reading = (async () => {
        for await (const batch of events.batches()) {
          for (const event of batch) {
            if (event.action === "remove") continue;
            if (event.kind === "service") {
              // The failures that its update counted are not asked for any more.
              if (isUpdating(event.old) && !isUpdating(event.object)) await noteAll(event.object.id);
              continue;
            }
            const { object, old } = event;
            note(object);
            // What it followed is not asked for any more.
            if (old !== undefined && isHeld(old) && !isHeld(object)) noteSlot(object);
          }
        }
      })();
      while (!signal.aborted) {
        if (doneIds.size === 0 && slots.size === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
            if (signal.aborted) resolve();
          });
        }
        await clock.sleep(delayMs, signal).catch(() => undefined);
        if (signal.aborted) break;
        const ids = [...doneIds];
        const due = [...slots.values()];
        doneIds.clear();
        slots.clear();
        await pacer.run(inSteps(due, (slot) => ids.push(...surplusOf(store, slot))));
        for (let at = 0; at < ids.length; at += removalsPerTransaction) {
          await remove(ids.slice(at, at + removalsPerTransaction));
          if (pacer.due) await pacer.turn();
        }
      }
      await reading;

      async function noteAll(serviceId: string): Promise<void> {
        const tasks = store.view((tx) => tx.tasks.each(byService(serviceId)));
        await pacer.run(inSteps(tasks, note));
      }

      async function remove(some: readonly string[]): Promise<void> {
        try {
          await store.update((tx) => {
            for (const id of some) {
              const task = tx.tasks.get(id);
              if (task && (isDone(task) || hasEnded(task))) tx.tasks.delete(id);
            }
          });
        } catch (thrown) {
          const error = SwarmError.from(thrown);
          if (error.code === "Internal") throw error;
          log.warn("task records not removed, trying again", { error: error.message });
          for (const id of some) doneIds.add(id);
        }
      }
    },
  };

  /** Notes every task; resolves with what is committed after that of tasks and services. */
  async function follow(note: (task: Task) => void, signal: AbortSignal) {
    const { value: tx, events } = store.viewAndWatch((tx) => tx, { kinds: ["task", "service"], signal });
    await pacer.run(inSteps(tx.tasks.each(), note));
    return events;
  }
}

function slotName(task: Task): string {
  return `${task.serviceId}/${task.slot === 0 ? task.nodeId : task.slot}`;
}

function surplusOf(store: MemoryStore, { serviceId, slot, nodeId }: Task): string[] {
  return store.view((tx) => {
    const limit = tx.clusters.find(all)[0]?.spec.orchestration.taskHistoryRetentionLimit ?? 5;
    const service = tx.services.get(serviceId);
    // Replicated jobs number their slots from 0; tasks of global services have no number, but a node.
    const onEveryNode = service?.spec.global !== undefined || service?.spec.globalJob !== undefined;
    const tasks = tx.tasks
      .find(bySlot(serviceId, slot))
      .filter((task) => !onEveryNode || task.nodeId === nodeId)
      .filter((task) => task.desiredState < TaskState.REMOVE);
    return surplusHistory(tasks, service, limit).map((task) => task.id);
  });
}
