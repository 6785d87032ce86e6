import { BlockList, isIP } from "node:net";
import { SwarmError } from "@starling/base/errors";
import { type Node, NodeRole } from "./gen/messages.js";

/** One placement constraint, parsed: `key==value` or `key!=value`. */
export interface Constraint {
  readonly key: string;
  readonly operator: "==" | "!=";
  readonly value: string;
  /** For `node.ip`: the addresses that `value` (an address or a CIDR subnet) names; undefined when malformed. */
  readonly addresses?: BlockList | undefined;
}

const nodeLabels = "node.labels.";
const engineLabels = "engine.labels.";
const keyPattern = /^[a-z_][a-z0-9\-_.]+$/i;
const valuePattern = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;

/**
 * Parses `Placement.constraints`. Throws InvalidArgument naming the expression and what is wrong with it. Keys that no
 * node can have are accepted and never match, as in Swarm.
 */
export function parseConstraints(expressions: readonly string[]): Constraint[] {
  return expressions.map(parseConstraint);
}

function parseConstraint(expression: string): Constraint {
  const operator = expression.includes("==") ? "==" : "!=";
  const at = expression.indexOf(operator);
  if (at < 0) {
    throw refusal(expression, "constraint expected one operator from ==, !=", "write key==value or key!=value");
  }
  const key = expression.slice(0, at).trim();
  const value = expression.slice(at + 2).trim();
  if (!keyPattern.test(key)) {
    throw refusal(expression, `key '${key}' is invalid`, "keys are as in node.id, node.role, node.labels.NAME");
  }
  if (!valuePattern.test(value)) {
    throw refusal(expression, `value '${value}' is invalid`, "give letters, digits and : - _ . * / without quotes");
  }
  if (key.toLowerCase() !== "node.ip") return { key, operator, value };
  return { key, operator, value, addresses: parseAddresses(value) };
}

function refusal(expression: string, problem: string, remedy: string): SwarmError {
  return new SwarmError("InvalidArgument", `${problem} (constraint '${expression}'): ${remedy}`);
}

/** An address or a CIDR subnet; undefined for anything else. */
function parseAddresses(text: string): BlockList | undefined {
  const [address = "", bits, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return undefined;
  const width = family === 4 ? 32 : 128;
  const prefix = bits === undefined ? width : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
  if (!(prefix <= width)) return undefined;
  const list = new BlockList();
  list.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6");
  return list;
}

/** Whether the node satisfies every constraint. What a node lacks counts as the empty string. */
export function nodeMatches(constraints: readonly Constraint[], node: Node): boolean {
  return constraints.every((constraint) => matches(constraint, node));
}

function matches(constraint: Constraint, node: Node): boolean {
  const wanted = constraint.operator === "==";
  const key = constraint.key.toLowerCase();
  if (key === "node.ip") {
    if (constraint.addresses === undefined) return false;
    const family = isIP(node.status.addr);
    const within = family !== 0 && constraint.addresses.check(node.status.addr, family === 4 ? "ipv4" : "ipv6");
    return within === wanted;
  }
  const actual = attribute(key, constraint.key, node);
  if (actual === undefined) return false;
  return (actual.toLowerCase() === constraint.value.toLowerCase()) === wanted;
}

/** The node's value for a constraint key; undefined for keys that mean nothing. Label names keep their case. */
function attribute(lowerKey: string, key: string, node: Node): string | undefined {
  switch (lowerKey) {
    case "node.id":
      return node.id;
    case "node.hostname":
      return node.description?.hostname ?? "";
    case "node.role":
      return node.role === NodeRole.MANAGER ? "MANAGER" : "WORKER";
    case "node.platform.os":
      return node.description?.platform?.os ?? "";
    case "node.platform.arch":
      return node.description?.platform?.architecture ?? "";
  }
  return labelOf(key, node);
}

/**
 * The label that `node.labels.NAME` or `engine.labels.NAME` names on this node, "" when it has none; undefined for any
 * other descriptor. Shared with the scheduler's spread preferences.
 */
export function labelOf(descriptor: string, node: Node): string | undefined {
  const lower = descriptor.toLowerCase();
  if (lower.startsWith(nodeLabels) && lower.length > nodeLabels.length) {
    return own(node.spec.annotations.labels, descriptor.slice(nodeLabels.length));
  }
  if (lower.startsWith(engineLabels) && lower.length > engineLabels.length) {
    return own(node.description?.engine?.labels, descriptor.slice(engineLabels.length));
  }
  return undefined;
}

function own(labels: Readonly<Record<string, string>> | undefined, name: string): string {
  return labels !== undefined && Object.hasOwn(labels, name) ? labels[name]! : "";
}
