/** The page of costs: sums by month and operation, and the list of orders. */
import type { VNode } from "preact";
import type { Address } from "../data/address";
import { buildPath, fetchJson } from "../data/api";
import { formatCount, formatUsd, shortenId } from "../data/format";
import { useLoad } from "../data/load";
import { nameOrganisation, useSession } from "../data/session";
import type { ListedOrder, MonthlyCost, Organisation } from "../data/types";
import { DataTable, type TableColumn } from "../parts/data-table";
import { Link } from "../parts/link";
import { Pager } from "../parts/pager";
import { Empty, Load } from "../parts/states";
import { Status, StatusTabs } from "../parts/status";
import { Time } from "../parts/time";

const STATUSES = ["requested", "open", "completed", "failed", "not_accepted", "unknown"];
const PAGE = 50;

const MONTH_COLUMNS: TableColumn<MonthlyCost>[] = [
  { heading: "Month", renderCell: (entry) => <span class="one-line">{entry.month}</span> },
  { heading: "Operation", renderCell: (entry) => <code>{entry.operation}</code> },
  { heading: "Orders", renderCell: (entry) => formatCount(entry.orders), kind: "number" },
  { heading: "Cost (USD)", renderCell: (entry) => formatUsd(entry.cost), kind: "number" },
];

const ORDER_COLUMNS: TableColumn<ListedOrder>[] = [
  { heading: "Requested", renderCell: (order) => <Time at={order.requested_at} /> },
  { heading: "Operation", renderCell: (order) => <code>{order.operation}</code> },
  { heading: "Processor", renderCell: (order) => `${order.provider} ${order.processor}` },
  {
    heading: "State",
    renderCell: (order) => (
      <>
        <Status of={order.status} />
        {order.error_message && <p class="quiet-text">{order.error_message}</p>}
      </>
    ),
  },
  { heading: "Price", renderCell: (order) => formatUsd(order.price), kind: "number" },
  {
    heading: "Cost",
    renderCell: (order) => (order.cost === null ? <span class="none">–</span> : formatUsd(order.cost)),
    kind: "number",
  },
  {
    heading: "Step result",
    renderCell: (order) =>
      order.step_result_id ? (
        <Link to={["steps", order.step_result_id]}>
          <code>{shortenId(order.step_result_id)}</code>
        </Link>
      ) : (
        <span class="none">–</span>
      ),
  },
];

export function CostsPage({ address, organisation }: { address: Address; organisation: Organisation }): VNode {
  const orgId = nameOrganisation(useSession(), organisation);
  const status = address.query.get("status");
  const offset = Number(address.query.get("offset") ?? 0) || 0;
  const costsPath = buildPath("api/v1/costs", { org_id: orgId });
  const costs = useLoad(costsPath, async (signal) => (await fetchJson<MonthlyCost[]>(costsPath, { signal })).data);
  const ordersPath = buildPath("api/v1/orders", { org_id: orgId, status, offset, limit: PAGE });
  const orders = useLoad(
    ordersPath,
    async (signal) => (await fetchJson<ListedOrder[]>(ordersPath, { signal })).data,
    organisation.id,
  );
  return (
    <>
      <h1>Costs</h1>
      <p class="lead">
        Every purchase of research is an order: one per question, never twice, never lost. Months are UTC.
      </p>
      <Load of={costs} what="Adding up costs">
        {(entries) =>
          entries.length ? (
            <DataTable
              label="Costs by month and operation"
              columns={MONTH_COLUMNS}
              rows={entries}
              getKey={(entry) => `${entry.month} ${entry.operation}`}
            />
          ) : (
            <Empty title="Nothing was bought yet" />
          )
        }
      </Load>
      <h2 class="spaced">Orders</h2>
      <StatusTabs label="States of orders" to={["costs"]} statuses={STATUSES} current={status} />
      <Load of={orders} what="Asking for orders">
        {(list) => (
          <>
            {list.length ? (
              <DataTable label="Orders" columns={ORDER_COLUMNS} rows={list} getKey={(order) => order.id} />
            ) : (
              <Empty title={status ? `No order is ${status.replaceAll("_", " ")}` : "Nothing was ordered yet"} />
            )}
            <Pager
              label="Pages of orders"
              to={["costs"]}
              query={{ status }}
              offset={offset}
              pageSize={PAGE}
              count={list.length}
            />
          </>
        )}
      </Load>
    </>
  );
}
