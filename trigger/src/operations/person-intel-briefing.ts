/** What a client should know about a person it is going to talk to. */
import { needed, optional } from "./inputs.js";
import type { Operation } from "./operation.js";

export const personIntelBriefing: Operation = {
  id: "person.derive.intel_briefing",
  prompt: "person-intel-briefing.md",
  processor: "pro",
  inputs: {
    client_company_name: needed("client_company_name"),
    client_company_domain: optional("client_company_domain"),
    client_company_description: needed("client_company_description"),
    customer_company_name: optional("customer_company_name"),
    customer_company_domain: optional("customer_company_domain"),
    person_full_name: needed("person_full_name", "full_name"),
    person_linkedin_url: optional("person_linkedin_url", "linkedin_url"),
    person_current_job_title: optional("person_current_job_title", "current_job_title", "title"),
    person_current_company_name: needed("person_current_company_name", "current_company_name"),
    person_current_company_domain: optional("person_current_company_domain", "current_company_domain"),
    person_current_company_description: optional("person_current_company_description", "current_company_description"),
  },
  output: (inputs) => ({
    ...inputs,
    full_name: inputs["person_full_name"] ?? "",
    linkedin_url: inputs["person_linkedin_url"] ?? "",
    title: inputs["person_current_job_title"] ?? "",
  }),
};
