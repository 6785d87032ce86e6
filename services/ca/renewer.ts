import { IssuanceStatus_State, type Node, NodeRole } from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { type Clock, type Logger, type Millis, type Random, SwarmError } from "@starling/base";
import { newCertificateRequest } from "./certificate-request.ts";
import { clientCredentials } from "./credentials.ts";
import type { NodeIdentity } from "./identity.ts";
import { requestCertificate } from "./join.ts";
import { returnToCluster } from "./return.ts";

const retryMs = 300_000;
/** While a renewal is asked for by the managers (a new role, a new root) or overdue, failures are tried again sooner. */
const forcedRetryMs = 1_000;
/** Node's timers hold 31 bits. */
const longestTimerMs = 2 ** 31 - 1;

/** Renews a node's certificate at a random point in 50–80 % of its validity, and at once when asked. */
export class CertificateRenewer {
  readonly #identity: NodeIdentity;
  readonly #manager: () => string | undefined;
  readonly #local: () => RpcClient | undefined;
  readonly #mayRenew: () => boolean;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Logger;
  /** Set while a new certificate is asked for: whether it still is. */
  #forced: (() => boolean) | undefined;
  #wake: (() => void) | undefined;

  constructor(options: {
    readonly identity: NodeIdentity;
    /** Address of a manager to ask now; undefined when none is known. */
    readonly manager: () => string | undefined;
    /** A channel to this node's own manager that needs no certificate; closed after use. For one that has run out. */
    readonly local?: () => RpcClient | undefined;
    /** Whether a new certificate may be asked for now; one that is due waits until it may. Default: always. */
    readonly mayRenew?: () => boolean;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Logger;
  }) {
    this.#identity = options.identity;
    this.#manager = options.manager;
    this.#local = options.local ?? (() => undefined);
    this.#mayRenew = options.mayRenew ?? (() => true);
    this.#clock = options.clock;
    this.#random = options.random;
    this.#log = options.log;
  }

  /** Asks for a new certificate as soon as possible, unless `wanted` no longer holds then: a renewal under way may do. */
  renewNow(wanted: () => boolean = () => true): void {
    this.#forced = wanted;
    this.#wake?.();
  }

  /** Renews until the signal aborts; failures are logged and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    let retryInMs: Millis | undefined;
    let plan: { readonly notAfter: Millis; readonly at: Millis } | undefined;
    while (!signal.aborted) {
      if (this.#forced?.() === false) this.#forced = undefined;
      const { certificate } = this.#identity;
      if (plan?.notAfter !== certificate.notAfter) {
        plan = { notAfter: certificate.notAfter, at: renewalTime(certificate, this.#random) };
      }
      const waitMs = retryInMs ?? (this.#forced ? 0 : plan.at - this.#clock.now());
      if (waitMs > 0) await this.#sleep(Math.min(waitMs, longestTimerMs), signal);
      if (retryInMs === undefined && !this.#forced && this.#clock.now() < plan.at) continue;
      if (signal.aborted) return;
      const forced = this.#forced;
      try {
        this.#forced = undefined;
        await this.#renew(signal);
        retryInMs = undefined;
      } catch (thrown) {
        if (signal.aborted) return;
        this.#forced ??= forced;
        retryInMs = this.#forced || this.#identity.hasExpired ? forcedRetryMs : retryMs;
        this.#log.warn("certificate not renewed", { error: thrown, "retry.ms": retryInMs });
      }
    }
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const identity = this.#identity;
    if (!this.#mayRenew())
      throw new SwarmError("FailedPrecondition", "a certificate of the role at hand is not wanted");
    const local = identity.hasExpired ? this.#local() : undefined;
    const address = this.#manager();
    if (address === undefined && local === undefined) throw new Error("no manager is known");
    if (identity.hasExpired && local === undefined) {
      const surroundings = { clock: this.#clock, log: this.#log, signal, patienceMs: 0 };
      return await returnToCluster(identity, { addresses: [address!], ...surroundings });
    }
    const client = local ?? new RpcClient(address!, clientCredentials(identity));
    try {
      const { csrPem, keyPem } = await newCertificateRequest();
      const chainPem = await requestCertificate(client, { csr: Buffer.from(csrPem), signal });
      await identity.replace({ chainPem, keyPem });
      this.#log.info("certificate renewed", { "node.id": identity.nodeId, role: identity.role });
    } finally {
      client.close();
    }
  }

  /** Until the delay has passed or somebody asks for a renewal. */
  async #sleep(delayMs: Millis, signal: AbortSignal): Promise<void> {
    const awake = new AbortController();
    this.#wake = () => awake.abort();
    try {
      await this.#clock.sleep(delayMs, AbortSignal.any([signal, awake.signal]));
    } catch {
      // Woken or stopped: the caller looks which.
    } finally {
      this.#wake = undefined;
    }
  }
}

/** A random point in 50–80 % of the certificate's validity, milliseconds since the epoch. */
export function renewalTime(
  certificate: { readonly notBefore: Millis; readonly notAfter: Millis },
  random: Random,
): Millis {
  return certificate.notBefore + (certificate.notAfter - certificate.notBefore) * (0.5 + 0.3 * random());
}

/** Do the managers, by the node object that they sent, want this node to renew: a rotation, or a changed role? */
export function wantsRenewal(node: Node, identity: Pick<NodeIdentity, "isManager">): boolean {
  const role = identity.isManager ? NodeRole.MANAGER : NodeRole.WORKER;
  return node.certificate.status.state === IssuanceStatus_State.ROTATE || node.role !== role;
}
