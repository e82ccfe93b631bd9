select 4*9 as question
