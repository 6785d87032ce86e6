/** Pure: no clock, no I/O, no randomness. */
import { IssuanceStatus_State, type Node, type NodeTLSInfo } from "@starling/api";
import type { Millis } from "@starling/base";

/** Nodes that are asked at once to renew. */
export const rotationBatch = 50;
/** A node that has been asked shows its new certificate within this time, or is asked again. */
export const askAgainMs: Millis = 20_000;

/** The issuer that every node's certificate shall have, as in NodeTLSInfo. */
export type Issuer = Pick<NodeTLSInfo, "certIssuerSubject" | "certIssuerPublicKey">;

/** Nodes whose certificate, by what they say of themselves, is not of this issuer. */
export function nodesWithout(issuer: Issuer, nodes: readonly Node[]): Node[] {
  return nodes.filter(({ description }) => {
    const { tlsInfo } = description ?? {};
    return (
      tlsInfo === undefined ||
      !sameBytes(tlsInfo.certIssuerSubject, issuer.certIssuerSubject) ||
      !sameBytes(tlsInfo.certIssuerPublicKey, issuer.certIssuerPublicKey)
    );
  });
}

/**
 * Which of the nodes that lack the new issuer to ask now (by state ROTATE) for a renewal: those that do not renew already, and
 * were not asked lately. At most a batch, so that the leader signs a bounded number at once.
 */
export function planAsking(
  lacking: readonly Node[],
  askedAt: ReadonlyMap<string, Millis>,
  now: Millis,
): readonly string[] {
  return lacking
    .filter((node) => !renews(node) && now - (askedAt.get(node.id) ?? Number.NEGATIVE_INFINITY) >= askAgainMs)
    .slice(0, rotationBatch)
    .map(({ id }) => id);
}

/** Is its certificate being renewed, or asked to be? */
export function renews({ certificate: { status } }: Node): boolean {
  const { RENEW, PENDING, ROTATE } = IssuanceStatus_State;
  return status.state === RENEW || status.state === PENDING || status.state === ROTATE;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
