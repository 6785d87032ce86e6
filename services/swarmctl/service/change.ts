import { Control, type Service, ServiceSpec, UpdateServiceRequest, UpdateServiceRequest_Rollback } from "@starling/api";
import { changeOnce } from "../client/certain.ts";
import { resolveService } from "../client/resolve.ts";
import { sameMessage } from "../client/same-message.ts";
import type { Context } from "../context.ts";
import { asSent } from "./resolve-image.ts";

/**
 * Reads the service, changes its spec, writes it back; anew when another write came between (the orchestrator writes
 * too), or when the answer was lost and the change did not happen. Returns the service as updated.
 */
export async function changeService(
  context: Context,
  reference: string,
  change: (spec: ServiceSpec, service: Service) => ServiceSpec,
  options: {
    readonly rollback?: UpdateServiceRequest_Rollback | undefined;
    readonly metadata?: Readonly<Record<string, string>>;
  } = {},
): Promise<Service> {
  const { client } = context;
  const { rollback, metadata = {} } = options;
  return await changeOnce(context, {
    read: () => resolveService(client, reference),
    write: async (present) => {
      const request = UpdateServiceRequest.create({
        serviceId: present.id,
        serviceVersion: present.meta.version,
        spec: change(present.spec, present),
        ...(rollback === undefined ? {} : { rollback }),
      });
      return (await client.call(Control.methods.updateService, request, { metadata })).service!;
    },
    isDone: (present, base) => {
      const wanted = rollback === UpdateServiceRequest_Rollback.PREVIOUS ? base.previousSpec : change(base.spec, base);
      // The version that the client saw becomes the spec's, or is taken back with the previous spec.
      const specMoved = present.specVersion?.index !== base.specVersion?.index;
      return wanted !== undefined && specMoved && sameMessage(ServiceSpec, asSent(present.spec, wanted), wanted);
    },
  });
}
