/** Pure: no clock, no I/O, no randomness. */
import type { Task } from "@starling/api";
import { type Check, type Filter, filters } from "./filters.ts";
import type { NodeInfo } from "./node-info.ts";

/** The filters that concern one task, and the tasks that share its spec. */
export class Pipeline {
  readonly #checks: readonly { readonly filter: Filter; readonly check: Check }[];
  readonly #changing: readonly Check[];

  constructor(task: Task) {
    this.#checks = filters.flatMap((filter) => {
      const check = filter.checkFor(task);
      return check === undefined ? [] : [{ filter, check }];
    });
    this.#changing = this.#checks.filter(({ filter }) => filter.changesByPlacing).map(({ check }) => check);
  }

  fits(info: NodeInfo): boolean {
    return info.node !== undefined && this.#refusal(info) === undefined;
  }

  /** As `fits`, for a node that did fit before tasks of this group were placed on it. */
  stillFits(info: NodeInfo): boolean {
    for (const check of this.#changing) if (!check(info)) return false;
    return true;
  }

  /** Why no node fits. */
  explain(nodes: Iterable<NodeInfo>): string {
    const refusals = new Refusals();
    for (const info of nodes) this.refuse(info, refusals);
    return refusals.text();
  }

  /** Notes in `refusals` why the task does not fit on a node. */
  refuse(info: NodeInfo, refusals: Refusals): void {
    const filter = info.node && this.#refusal(info);
    if (filter) refusals.add(filter);
  }

  #refusal(info: NodeInfo): Filter | undefined {
    for (const { filter, check } of this.#checks) if (!check(info)) return filter;
    return undefined;
  }
}

/** How many nodes each filter refused. */
export class Refusals {
  readonly #counts = new Map<Filter, number>();

  add(filter: Filter): void {
    this.#counts.set(filter, (this.#counts.get(filter) ?? 0) + 1);
  }

  /** Most frequent reason first: "insufficient resources on 2 nodes; 1 node not available …". */
  text(): string {
    return [...this.#counts]
      .sort(([, a], [, b]) => b - a)
      .map(([filter, nodes]) => filter.explain(nodes))
      .join("; ");
  }
}
