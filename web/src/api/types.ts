/* types - short names for what the generated contract describes. Pages import from here, so a
 * renamed component in the contract is one line to change. */
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Session = Schemas["Session"];
export type User = Schemas["User"];
export type Org = Schemas["Org"];
export type Key = Schemas["Key"];
export type Model = Schemas["Model"];
export type Endpoint = Schemas["Endpoint"];
export type Deployment = Schemas["Deployment"];
export type Usage = Schemas["Usage"];
export type UsageSummaryRow = Schemas["UsageSummaryRow"];
export type Role = User["role"];
