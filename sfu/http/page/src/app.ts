import mqtt from "mqtt"; console.log(mqtt);
