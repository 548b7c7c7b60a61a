/** What a client should know about a company it wants to sell to. */
import { needed, optional } from "./inputs.js";
import type { Operation } from "./operation.js";

export const companyIntelBriefing: Operation = {
  id: "company.derive.intel_briefing",
  prompt: "company-intel-briefing.md",
  processor: "ultra",
  inputs: {
    client_company_name: needed("client_company_name"),
    client_company_domain: optional("client_company_domain"),
    client_company_description: needed("client_company_description"),
    target_company_name: needed("target_company_name", "company_name"),
    target_company_domain: needed("target_company_domain", "domain", "company_domain", "canonical_domain"),
    target_company_description: optional("target_company_description", "company_description", "description"),
    target_company_industry: optional("target_company_industry", "industry"),
    target_company_size: optional("target_company_size", "employee_range"),
    target_company_funding: optional("target_company_funding", "funding"),
  },
  output: (inputs) => ({
    ...inputs,
    domain: inputs["target_company_domain"] ?? "",
    company_name: inputs["target_company_name"] ?? "",
  }),
};
