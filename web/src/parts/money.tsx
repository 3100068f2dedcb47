/* money - an exact amount. Where there are whole units, the digits beyond the cents are lighter;
 * they are never cut. */
import { Text } from "@mantine/core";
import { formatMoney } from "./format";

export function Money({ amount, currency }: { amount: string; currency: string }) {
  const text = formatMoney(amount, currency);
  const split = /[1-9].*\./.test(text) ? text.indexOf(".") + 3 : text.length;
  return (
    <Text span inherit data-cost={amount} title={`${amount} ${currency}, exact`}>
      {text.slice(0, split)}
      {split < text.length && (
        <Text span inherit c="dimmed">
          {text.slice(split)}
        </Text>
      )}
    </Text>
  );
}

export function MoneySums({ sums }: { sums: readonly { currency: string; cost: string }[] }) {
  if (sums.length === 0) return <>–</>;
  return sums.map((sum) => (
    <Text key={sum.currency} span inherit display="block">
      <Money amount={sum.cost} currency={sum.currency} />
    </Text>
  ));
}
