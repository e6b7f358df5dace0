/**
 * 256 words, one for each value of a byte. They are short, common and concrete, no word begins with the same four letters as another,
 * and none sounds like another, so that they can be read out over the telephone. Their order never changes.
 */
export const WORD_LIST: readonly string[] = `
acorn actor album almond amulet anchor ankle antler apple apron arch arrow ash atlas attic autumn
badge bagel baker balcony bamboo banjo barrel basket beacon beaver bell bicycle bishop blanket blossom bonfire
border bottle branch bridge broom bubble bucket buffalo button cabin cactus camel candle canyon carpet castle
cellar chalk cherry chimney cinema circle clock cloud clover coast cobra coffee comet copper coral cotton
cousin cradle crane cricket crown crystal cushion daisy dancer desert diamond dolphin donut dragon drum duck
eagle earth easel echo elbow elephant ember engine estate evening fabric falcon farmer feather fence ferry
fiddle finch flag flute forest fossil fox freezer frost garden garlic gate giant ginger giraffe glacier
glove goblet gold goose granite grape guitar hammer harbor hawk hazel hedge helmet heron hill honey
horse hotel hunter igloo indigo iron island ivory jacket jaguar jelly jewel jungle kayak kettle kitchen
kite knight ladder lake lantern lemon leopard letter lilac linen lion lizard lobster lotus lumber magnet
mango maple marble meadow melon mirror monkey moon mosaic moth mountain muffin museum mustard napkin needle
nest nickel noodle north nutmeg oasis oboe ocean octopus olive onion opera orange orchid otter oven
owl oyster paint palace panda paper parrot peach pebble pelican pencil pepper piano pigeon pillow pirate
planet plum podium poem pony potato prairie pretzel prism pumpkin puzzle quail quartz queen quilt rabbit
radish raft rain raven ribbon river robin rocket rose ruby saddle salmon sandal scarf shadow silver
spider spoon squirrel statue sugar summer tiger tulip turtle umbrella valley velvet violin walnut window winter
`
  .trim()
  .split(/\s+/);
