import fc from "fast-check";
import { expect, it } from "vitest";
import { type Listed, NodeList } from "./node-list.ts";

class Item implements Listed<Item> {
  list: unknown;
  next: Item | undefined;
  previous: Item | undefined;
}

it("two lists hold their items in order, as Sets do, whatever moves between them", () => {
  const move = fc.record({ item: fc.nat(5), from: fc.nat(1), to: fc.option(fc.nat(1), { nil: undefined }) });
  fc.assert(
    fc.property(fc.array(move), (moves) => {
      const items = Array.from({ length: 6 }, () => new Item());
      const lists = [new NodeList<Item>(), new NodeList<Item>()];
      const sets = [new Set<Item>(), new Set<Item>()];
      for (const each of moves) {
        const item = items[each.item]!;
        lists[each.from]!.delete(item);
        sets[each.from]!.delete(item);
        if (each.to !== undefined && item.list === undefined) {
          lists[each.to]!.add(item);
          sets[each.to]!.add(item);
        }
        for (const [i, list] of lists.entries())
          expect([...list].map((one) => items.indexOf(one))).toEqual([...sets[i]!].map((one) => items.indexOf(one)));
      }
    }),
  );
});
