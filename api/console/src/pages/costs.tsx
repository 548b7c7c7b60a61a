/** Costs: what was bought, for how much, by month and operation, and each order. */
import type { VNode } from "preact";
import type { Address } from "../data/address";
import { buildPath, request } from "../data/api";
import { formatCount, formatUsd, shortenId } from "../data/format";
import { useLoad } from "../data/load";
import { nameOrganisation, useSession } from "../data/session";
import type { ListedOrder, MonthlyCost, Organisation } from "../data/types";
import { Link } from "../parts/link";
import { Empty, Load } from "../parts/states";
import { Status } from "../parts/status";
import { Time } from "../parts/time";

const STATUSES = ["requested", "open", "completed", "failed", "not_accepted", "unknown"];
const PAGE = 50;

export function CostsPage({ address, organisation }: { address: Address; organisation: Organisation }): VNode {
  const orgId = nameOrganisation(useSession(), organisation);
  const status = address.query.get("status");
  const offset = Number(address.query.get("offset") ?? 0) || 0;
  const costsPath = buildPath("api/v1/costs", { org_id: orgId });
  const costs = useLoad(costsPath, async (signal) => (await request<MonthlyCost[]>(costsPath, { signal })).data);
  const ordersPath = buildPath("api/v1/orders", { org_id: orgId, status, offset, limit: PAGE });
  const orders = useLoad(
    ordersPath,
    async (signal) => (await request<ListedOrder[]>(ordersPath, { signal })).data,
    "orders",
  );
  return (
    <>
      <h1>Costs</h1>
      <p class="lead">
        Every purchase of research is an order: one per question, never twice, never lost. Months are UTC.
      </p>
      <Load of={costs} what="Adding up costs">
        {(entries) => (entries.length ? <MonthTable entries={entries} /> : <Empty title="Nothing was bought yet" />)}
      </Load>
      <h2 class="spaced">Orders</h2>
      <nav class="tabs" aria-label="States of orders">
        <Link to={["costs"]} current={status === null}>
          All
        </Link>
        {STATUSES.map((one) => (
          <Link key={one} to={["costs"]} query={{ status: one }} current={status === one}>
            {one.replaceAll("_", " ")}
          </Link>
        ))}
      </nav>
      <Load of={orders} what="Asking for orders">
        {(list) => (
          <>
            {list.length ? <OrderTable orders={list} /> : <Empty title="There is no such order" />}
            <nav class="pager" aria-label="Pages of orders">
              {offset > 0 && (
                <Link to={["costs"]} query={{ status, offset: String(Math.max(offset - PAGE, 0)) }}>
                  Newer
                </Link>
              )}
              {list.length === PAGE && (
                <Link to={["costs"]} query={{ status, offset: String(offset + PAGE) }}>
                  Older
                </Link>
              )}
            </nav>
          </>
        )}
      </Load>
    </>
  );
}

function MonthTable({ entries }: { entries: MonthlyCost[] }): VNode {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Costs by month and operation">
      <table>
        <thead>
          <tr>
            <th scope="col">Month</th>
            <th scope="col">Operation</th>
            <th scope="col" class="number">
              Orders
            </th>
            <th scope="col" class="number">
              Cost (USD)
            </th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <tr key={`${entry.month} ${entry.operation}`}>
              <td>{entry.month}</td>
              <td>
                <code>{entry.operation}</code>
              </td>
              <td class="number">{formatCount(entry.orders)}</td>
              <td class="number">{formatUsd(entry.cost)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function OrderTable({ orders }: { orders: ListedOrder[] }): VNode {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Orders">
      <table>
        <thead>
          <tr>
            <th scope="col">Requested</th>
            <th scope="col">Operation</th>
            <th scope="col">Processor</th>
            <th scope="col">State</th>
            <th scope="col" class="number">
              Price
            </th>
            <th scope="col" class="number">
              Cost
            </th>
            <th scope="col">Step result</th>
          </tr>
        </thead>
        <tbody>
          {orders.map((order) => (
            <tr key={order.id}>
              <td>
                <Time at={order.requested_at} />
              </td>
              <td>
                <code>{order.operation}</code>
              </td>
              <td>{`${order.provider} ${order.processor}`}</td>
              <td>
                <Status of={order.status} />
                {order.error_message && <p class="quiet-text">{order.error_message}</p>}
              </td>
              <td class="number">{formatUsd(order.price)}</td>
              <td class="number">{order.cost === null ? <span class="none">–</span> : formatUsd(order.cost)}</td>
              <td>
                {order.step_result_id ? (
                  <Link to={["steps", order.step_result_id]}>
                    <code>{shortenId(order.step_result_id)}</code>
                  </Link>
                ) : (
                  <span class="none">–</span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
