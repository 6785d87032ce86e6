/** Pure: no clock, no I/O, no randomness. */
import sortedBtree, { simpleComparator } from "sorted-btree";

export type Tree<V> = InstanceType<typeof sortedBtree.default<string, V>>;

/** sorted-btree is CommonJS: Node gives its exports object as the default import, bundlers its default export. */
const BTree = "default" in sortedBtree ? sortedBtree.default : (sortedBtree as never as typeof sortedBtree.default);

/** An empty ordered map whose `clone` shares everything until one of the two is written to. */
export function emptyTree<V>(): Tree<V> {
  return new BTree<string, V>(undefined, simpleComparator);
}
