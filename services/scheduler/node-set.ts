/** Pure: no clock, no I/O, no randomness. */
import { NodeInfo, type NodeInfoListener } from "./node-info.ts";
import { NodeList } from "./node-list.ts";
import { PackedOrder, type Room } from "./packed-order.ts";

/** What fitted nowhere before fits now on none but `nodes`. */
export interface Freed {
  readonly nodes: Iterable<NodeInfo>;
  /** Not only tasks went: the object of one of them is another. */
  readonly anyChanged: boolean;
}

/** All nodes, by id and in order of their active tasks. */
export class NodeSet {
  readonly #byId = new Map<string, NodeInfo>();
  /** `#byActive[n]`: nodes with n active tasks, in the order in which they came to have that many. */
  readonly #byActive: NodeList<NodeInfo>[] = [];

  readonly #listener: NodeInfoListener = {
    activeChanged: (info, before) => {
      this.#byActive[before]?.delete(info);
      this.#bucket(info.activeTasks).add(info);
      this.#packed?.changed(info);
    },
    booked: (info) => this.#packed?.changed(info),
    freed: (info) => this.#freed?.add(info),
    nodeChanged: (info) => {
      this.#freed?.add(info);
      this.#anyChanged = true;
      this.#packed?.changed(info);
    },
  };
  /** Kept from the first time on that it is asked for: most clusters only spread. */
  #packed: PackedOrder | undefined;
  /** Undefined until it is first asked for: all. */
  #freed: Set<NodeInfo> | undefined;
  #anyChanged = false;

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): NodeInfo | undefined {
    return this.#byId.get(id);
  }

  /** The node of this id, new and without an object if it was not known. */
  ensure(id: string): NodeInfo {
    let info = this.#byId.get(id);
    if (info === undefined) {
      info = new NodeInfo(id, this.#listener);
      this.#byId.set(id, info);
      this.#bucket(0).add(info);
      this.#packed?.changed(info);
    }
    return info;
  }

  delete(info: NodeInfo): void {
    this.#byId.delete(info.id);
    this.#freed?.delete(info);
    this.#byActive[info.activeTasks]?.delete(info);
    this.#packed?.changed(info);
  }

  values(): Iterable<NodeInfo> {
    return this.#byId.values();
  }

  /** Nodes with few active tasks first. No task may be booked during the iteration. */
  *leastActiveFirst(): Generator<NodeInfo> {
    for (const bucket of this.#byActive) yield* bucket;
  }

  /**
   * Nodes with this room, those most used first; undefined now and then so that the caller can pause. Tasks may be booked
   * during the iteration; their nodes keep their places.
   */
  fullestFirst(room: Room): Iterable<NodeInfo | undefined> {
    this.#packed ??= new PackedOrder(this.#byId.values());
    return this.#packed.withRoom(room, (info) => this.#byId.get(info.id) === info);
  }

  /** What has changed for the better since the last call. */
  takeFreed(): Freed {
    const freed = { nodes: this.#freed ?? this.values(), anyChanged: this.#anyChanged };
    this.#freed = new Set();
    this.#anyChanged = false;
    return freed;
  }

  #bucket(activeTasks: number): NodeList<NodeInfo> {
    for (let count = this.#byActive.length; count <= activeTasks; count++) this.#byActive.push(new NodeList());
    return this.#byActive[activeTasks]!;
  }
}
