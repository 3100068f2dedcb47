/* nav - the console's pages in the order of its menu, and who sees them. */
import type { Role } from "../api/types";
import type { IconName } from "./icon";

export interface NavItem {
  to: "/playground" | "/usage" | "/keys" | "/overview";
  label: string;
  icon: IconName;
  roles?: readonly Role[]; /* absent: everybody */
}
export interface NavSection {
  title: string;
  items: readonly NavItem[];
}

const SECTIONS: readonly NavSection[] = [
  {
    title: "Operate",
    items: [{ to: "/overview", label: "Overview", icon: "gauge", roles: ["operator"] }],
  },
  {
    title: "Use",
    items: [
      { to: "/playground", label: "Playground", icon: "chat" },
      { to: "/usage", label: "Usage", icon: "chart" },
      { to: "/keys", label: "API keys", icon: "key" },
    ],
  },
];

export function navFor(role: Role): NavSection[] {
  return SECTIONS.map((section) => ({
    title: section.title,
    items: section.items.filter((item) => !item.roles || item.roles.includes(role)),
  })).filter((section) => section.items.length > 0);
}

export const homeOf = (role: Role) => (role === "operator" ? "/overview" : "/playground");

export const ROLE_NAMES: Record<Role, string> = {
  operator: "Operator",
  org_admin: "Org admin",
  member: "Member",
};
