/** Pure: no clock, no I/O, no randomness. */
import sortedBtree, { simpleComparator } from "sorted-btree";

type TreeClass = typeof sortedBtree.default;
export type Tree<V> = InstanceType<typeof sortedBtree.default<string, V>>;

/** sorted-btree is CommonJS: Node gives its exports object as the default import, bundlers its default export. */
const TreeClass = ((sortedBtree as { readonly default?: TreeClass }).default ?? sortedBtree) as TreeClass;

/** A write copies one node per level: small nodes keep that cheap, and reads lose little. */
const KEYS_PER_NODE = 16;

/** An empty ordered map whose `clone` shares everything until one of the two is written to. */
export function emptyTree<V>(): Tree<V> {
  return new TreeClass<string, V>(undefined, simpleComparator, KEYS_PER_NODE);
}
