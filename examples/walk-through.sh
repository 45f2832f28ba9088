#!/bin/sh
# From a delivery to an order that has left the store, in seven calls.
# Needs curl and a running instance (`make up`); ends at the first call that is refused.
#   sh examples/walk-through.sh [API's address]
set -eu
API=${1:-http://127.0.0.1:${ATP_PORT:-8080}}
NOW=$(date -u +%Y-%m-%dT%H:%M:%S.000Z)
RUN=$(date +%s)-$$ # ids of this run: nothing of an earlier one is in the way
SKU=KETTLE-$RUN

say() {
    echo
    echo "$*"
}

call() {
    echo "> $*"
    curl --silent --show-error --fail-with-body --header 'content-type: application/json' "$@"
    echo
}

say "A location and a SKU, as master data"
call -X PUT "$API/v1/locations/corner-shop" --data '{"name": "Corner shop", "kind": "store"}'
call -X PUT "$API/v1/skus/$SKU" --data '{"name": "Kettle"}'

say "A delivery of 5: a fact, sent over HTTP here, over NATS as a rule"
call "$API/v1/stock-events" --data "{
    \"specversion\": \"1.0\", \"id\": \"delivery-$RUN\", \"source\": \"wms/corner-shop\",
    \"type\": \"atp.stock.receipt.v1\", \"time\": \"$NOW\",
    \"data\": {\"sku\": \"$SKU\", \"location\": \"corner-shop\", \"quantity\": 5}}"

say "A cart holds 2 of them for a quarter of an hour"
call "$API/v1/reservations" --data "{
    \"reservation_id\": \"cart-$RUN\", \"ttl_seconds\": 900,
    \"lines\": [{\"line_id\": \"1\", \"sku\": \"$SKU\", \"location\": \"corner-shop\", \"quantity\": 2}]}"

say "It is paid for, and handed over"
call "$API/v1/reservations/cart-$RUN/confirm" --data "{\"order_id\": \"order-$RUN\"}"
call -X POST "$API/v1/reservations/cart-$RUN/fulfil" --data "{\"shipment_id\": \"parcel-$RUN\"}"

say "3 are left to sell"
call "$API/v1/availability?sku=$SKU"
