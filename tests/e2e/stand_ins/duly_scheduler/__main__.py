from stand_in import stand_in

stand_in("duly_scheduler")
