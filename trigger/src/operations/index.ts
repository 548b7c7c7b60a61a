/** The operations that this runner can execute, by id. */
import type { Operation } from "../research/operation.js";
import { companyIntelBriefing } from "./company-intel-briefing.js";
import { icpJobTitles } from "./icp-job-titles.js";
import { personIntelBriefing } from "./person-intel-briefing.js";

export const operations: ReadonlyMap<string, Operation> = new Map(
  [icpJobTitles, companyIntelBriefing, personIntelBriefing].map((operation) => [operation.id, operation]),
);
