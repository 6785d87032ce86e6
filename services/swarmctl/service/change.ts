import {
  Control,
  type Service,
  type ServiceSpec,
  UpdateServiceRequest,
  type UpdateServiceRequest_Rollback,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { resolveService } from "../client/resolve.ts";
import type { Context } from "../context.ts";

/** Tries before we say that someone else keeps changing the service. */
const triesMax = 10;

/**
 * Reads the service, changes its spec, writes it back; anew when another write came between (the orchestrator writes
 * too). Returns the service as updated.
 */
export async function changeService(
  { client }: Context,
  reference: string,
  change: (spec: ServiceSpec, service: Service) => ServiceSpec,
  rollback?: UpdateServiceRequest_Rollback,
): Promise<Service> {
  for (let attempt = 1; ; attempt++) {
    const present = await resolveService(client, reference);
    const request = UpdateServiceRequest.create({
      serviceId: present.id,
      serviceVersion: present.meta.version,
      spec: change(present.spec, present),
      ...(rollback === undefined ? {} : { rollback }),
    });
    try {
      return (await client.call(Control.methods.updateService, request)).service!;
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (!error.message.includes("update out of sequence") || attempt === triesMax) throw error;
    }
  }
}
