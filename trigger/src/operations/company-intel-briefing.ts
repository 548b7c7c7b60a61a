/** The operation that researches what a client should know about a company it wants to sell to. */
import { requiredInput, optionalInput } from "../research/inputs.js";
import type { Operation } from "../research/operation.js";

export const companyIntelBriefing: Operation = {
  id: "company.derive.intel_briefing",
  prompt: "company-intel-briefing.md",
  processor: "ultra",
  inputs: {
    client_company_name: requiredInput("client_company_name"),
    client_company_domain: optionalInput("client_company_domain"),
    client_company_description: requiredInput("client_company_description"),
    target_company_name: requiredInput("target_company_name", "company_name"),
    target_company_domain: requiredInput("target_company_domain", "domain", "company_domain", "canonical_domain"),
    target_company_description: optionalInput("target_company_description", "company_description", "description"),
    target_company_industry: optionalInput("target_company_industry", "industry"),
    target_company_size: optionalInput("target_company_size", "employee_range"),
    target_company_funding: optionalInput("target_company_funding", "funding"),
  },
  buildOutput: (inputs) => ({
    ...inputs,
    domain: inputs["target_company_domain"] ?? "",
    company_name: inputs["target_company_name"] ?? "",
  }),
};
