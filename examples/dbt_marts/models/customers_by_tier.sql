select tier, count(*) as customers, sum(points) as points
from {{ source('crm', 'customers') }}
group by tier
