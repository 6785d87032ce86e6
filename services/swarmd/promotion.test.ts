import { Node, NodeRole } from "@starling/api";
import { expect, it } from "vitest";
import { promotionOf } from "./promotion.ts";

const manager = Node.create({ id: "n1", role: NodeRole.MANAGER });
const worker = Node.create({ id: "n1", role: NodeRole.WORKER });

it.each([
  ["our managers promote", { node: manager, isManager: false, foreign: false }, "open"],
  ["a worker stays one", { node: worker, isManager: false, foreign: true }, "open"],
  ["nothing is known yet", { node: undefined, isManager: false, foreign: true }, "open"],
  ["a manager already", { node: manager, isManager: true, foreign: true }, "open"],
  ["it is not known who promotes", { node: manager, isManager: false, foreign: undefined }, "unknown"],
  ["managers of another make promote", { node: manager, isManager: false, foreign: true }, "refused"],
] as const)("promotion: %s", (_what, known, outcome) => {
  const promotion = promotionOf(known);
  expect(promotion.t).toBe(outcome);
  if (promotion.t === "refused") expect(promotion.why).toContain("docker node rm --force n1");
});
