import { NodeReturn, RenewExpiredRequest } from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { type Clock, type Logger, type Millis, SwarmError } from "@starling/base";
import { newCertificateRequest } from "./certificate-request.ts";
import { joinerCredentials } from "./credentials.ts";
import type { NodeIdentity } from "./identity.ts";
import { mayPass } from "./join.ts";
import { proveReturn } from "./return-proof.ts";

const callTimeoutMs: Millis = 10_000;
const retryMs: Millis = 250;

/**
 * Gets a new certificate for an identity whose own has run out, from whichever manager answers. Throws Unavailable when none
 * does within `patienceMs` (default 20 s), FailedPrecondition when the cluster takes this node back no more.
 */
export async function returnToCluster(
  identity: NodeIdentity,
  options: {
    /** Remote API addresses of managers, `host:port`; tried in turn. */
    readonly addresses: readonly string[];
    readonly clock: Clock;
    readonly log: Logger;
    readonly signal?: AbortSignal;
    readonly patienceMs?: Millis;
  },
): Promise<void> {
  const { addresses, clock, log, signal } = options;
  const expired = new Date(identity.certificate.notAfter).toUTCString();
  if (addresses.length === 0) {
    throw new SwarmError("Unavailable", `node certificate: expired on ${expired}, and no manager is known: join again`);
  }
  // One request for all attempts: an answer that is lost is asked for again.
  const { csrPem, keyPem } = await newCertificateRequest();
  const csr = Buffer.from(csrPem);
  const request = RenewExpiredRequest.create({
    certificate: Buffer.from(identity.chainPem),
    csr,
    signature: proveReturn(csr, identity.keyPem),
  });
  const deadline = clock.monotonic() + (options.patienceMs ?? 20_000);
  for (let attempt = 0; ; attempt++) {
    const address = addresses[attempt % addresses.length]!;
    const client = new RpcClient(address, joinerCredentials(identity.rootPem));
    try {
      const call = { timeoutMs: callTimeoutMs, ...(signal && { signal }) };
      const { certificate } = await client.call(NodeReturn.methods.renewExpired, request, call);
      await identity.replace({ chainPem: Buffer.from(certificate).toString("utf8"), keyPem });
      log.info("expired certificate renewed", { "node.id": identity.nodeId, role: identity.role });
      return;
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (!mayPass(error) || clock.monotonic() >= deadline) {
        throw new SwarmError(
          error.code,
          `node certificate: expired on ${expired}; ${address} gave no new one: ${error.message}`,
          { cause: error },
        );
      }
      log[attempt === 0 ? "info" : "debug"]("renewal of the expired certificate will be tried again", {
        address,
        error,
      });
      await clock.sleep(retryMs, signal);
    } finally {
      client.close();
    }
  }
}
